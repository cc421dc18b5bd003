"""Every path that AUTOMATIC1111 1.10.1, its ControlNet extension and Gradio 3.41, 4.40 and 6 are known to serve."""

from __future__ import annotations

_API = """
txt2img img2img extra-single-image extra-batch-images png-info progress interrogate interrupt skip options cmd-flags
samplers schedulers upscalers latent-upscale-modes sd-models sd-vae sd-modules hypernetworks face-restorers
realesrgan-models prompt-styles embeddings loras refresh-embeddings refresh-checkpoints refresh-vae refresh-loras
create/embedding create/hypernetwork train/embedding train/hypernetwork memory unload-checkpoint reload-checkpoint
scripts script-info extensions server-kill server-restart server-stop
"""
_CONTROLNET = "version model_list module_list control_types settings detect render_openpose_json"
_INTERNAL = "ping sysinfo sysinfo-download profile-startup quicksettings-hint pending-tasks progress"
_EXTRA_NETWORKS = "thumb cover-images metadata get-single-card"
_GRADIO = """
/ /config /config/ /info /info/ /api/info /user /user/ /login /logout /login_check /token /app_id /app_id/ /dev/reload
/file=outputs/a.png /file=/etc/passwd /file=../webui.py /file/a.png /file/%2e%2e/a /proxy=http://127.0.0.1/
/run/predict /run/0/ /api/predict /api/predict/ /api/txt2img /call/predict /call/v2/predict /call/predict/1
/queue/join /queue/data /queue/status /cancel /reset /reset/ /component_server /component_server/ /heartbeat/abc
/upload /upload_progress /stream/1 /stream/1/close /stream/a/b/1/playlist.m3u8 /stream/a/b/1/2.ts
/stream/a/b/1/playlist-file /startup-events /theme.css /robots.txt /pwa_icon /pwa_icon/192 /manifest.json
/monitoring /monitoring/summary /monitoring/key /process_recording /vibe-edit /undo-vibe-edit /vibe-code
/vibe-starter-queries /profiling/traces /profiling/summary /profiling/clear /deep_link /runs /svelte/a.js
/run-history/connect /run-history/buckets /run-history/records /custom_component/1/client/component/index.js
/openapi.json /mcp /mcp/sse /mcp/messages/
"""
_ROOTS = """
/docs /docs/oauth2-redirect /redoc /openapi.json /assets/index.js /static/js/a.js /static/fonts/a.woff2 /favicon.ico
/public/a.js /monaco-editor/a.js /_app/immutable/a.js /webui.py /config.json /.env /socket.io/ /ws /index.html
/javascript/ui.js /script.js /style.css /agent-scheduler/v1/queue /civitai/v1/loras /sd-webui-x/anything
"""

CLOSED_PATHS = [
    "/internal/sysinfo", "/internal/sysinfo?attachment=true", "/internal/sysinfo-download", "/internal/profile-startup",
    "/docs", "/docs/", "/docs/oauth2-redirect", "/redoc", "/openapi.json", "/sdapi/v1/server-kill",
    "/sdapi/v1/server-restart", "/sdapi/v1/server-stop", "/proxy=http://127.0.0.1/", "/dev/reload", "/monitoring",
    "/vibe-edit", "/vibe-code/", "/undo-vibe-edit", "/profiling/traces", "/gradio_api/vibe-edit",
    "/gradio_api/openapi.json", "/INTERNAL/Sysinfo", "/internal//sysinfo", "/%69nternal/sysinfo", "/internal/sysinfo/",
    "/internal/sysinf%6f", "/gradio_api//docs", "/internal/%20sysinfo",
]  # fmt: skip
"""Closed to those who are logged in, in the ways to write them that some server might read as the same."""

SOCKET_PATHS = ["/queue/join", "/gradio_api/queue/join", "/ws", "/", "/stream/ws", "/socket.io/?transport=websocket"]

PATHS = [
    *(f"/sdapi/v1/{name}" for name in _API.split()),
    *(f"/controlnet/{name}" for name in _CONTROLNET.split()),
    *(f"/internal/{name}" for name in _INTERNAL.split()),
    *(f"/sd_extra_networks/{name}?filename=a" for name in _EXTRA_NETWORKS.split()),
    *_GRADIO.split(),
    *(f"/gradio_api{path}" for path in _GRADIO.split()),
    *_ROOTS.split(),
]
