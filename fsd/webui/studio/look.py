"""How the studio looks: one theme of system fonts, light and dark, and the layout for a phone and for a desk."""

from __future__ import annotations

from typing import Any

from fsd.webui.captions.look import STYLE as SHARED

TITLE = "fsd studio"
FAVICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="#4f46e5"/>'
    '<path d="M8 23l6-9 4 5 2.5-3 4.5 7z" fill="#fff"/><circle cx="21.5" cy="10.5" r="2.5" fill="#fff"/></svg>'
)
POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; connect-src 'self' data: blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'"
)
"""Content-Security-Policy: the page loads and asks nothing from anywhere else."""

HEAD = """<style>
@media (max-width: 760px) {
  .gradio-container .app { padding: 4px 12px 24px !important; }
  .tab-container button { padding: 0 7px !important; font-size: 13.5px !important; }
}
.overflow-menu { position: absolute; right: 0; }
</style>
<script>
document.addEventListener('load', event => {
  if (event.target.rel === 'stylesheet') dispatchEvent(new Event('resize'));
}, true);
</script>"""
"""Gradio measures which tabs fit, and puts the others into a menu: all of them fit a phone by this style, which is there before
it measures. It does so anew with each style sheet that arrives, and the menu's button takes none of the tabs' room, else what
was in the menu once would stay there."""

STYLE = """
.gradio-container .app { max-width: 1240px !important; padding: 8px 24px 32px !important; }
footer { display: none !important; }
#top { display: flex; align-items: center; justify-content: space-between; min-height: 44px; }
#top b { font-size: 17px; letter-spacing: -0.01em; color: var(--body-text-color); }
#top form { margin: 0; }
#top button { color: var(--body-text-color-subdued); font-size: 14px; font-weight: 400; padding: 8px 0; cursor: pointer;
  background: none !important; border: 0 !important; }
#top button:hover { color: var(--body-text-color); text-decoration: underline; }
.tabitem, .html-container { padding: 0 !important; }

#create, #shelf { display: grid; align-items: start; gap: 20px; }
#create { grid-template: "ask made" auto "settings made" 1fr / minmax(0, 5fr) minmax(0, 7fr); }
#shelf { grid-template: "thumbs chosen" auto / minmax(0, 7fr) minmax(0, 5fr); }
#ask { grid-area: ask; } #made { grid-area: made; } #settings { grid-area: settings; }
#thumbs { grid-area: thumbs; } #chosen { grid-area: chosen; }
#made, #chosen { position: sticky; top: 12px; gap: 12px; }
#create > *, #shelf > * { min-width: 0 !important; width: 100%; }
#ask, #settings { gap: 12px; }

#mode .wrap { display: grid; grid-template-columns: repeat(3, 1fr); gap: 4px; padding: 4px; border-radius: 8px;
  background: var(--background-fill-secondary); border: 1px solid var(--border-color-primary); }
#mode label { justify-content: center; padding: 7px 4px; background: none; border: 0; box-shadow: none; white-space: nowrap; }
#mode label.selected { background: var(--block-background-fill); box-shadow: 0 0 0 1px var(--border-color-primary);
  font-weight: 600; }
#mode label:focus-within { outline: 2px solid var(--color-accent); }
#mode input { position: absolute; opacity: 0; width: 1px; height: 1px; }
#mode label span { margin: 0; }

#go { gap: 10px; flex-wrap: nowrap; } #go button { min-height: 46px; }
#seed-row { flex-wrap: nowrap; align-items: end; background: var(--block-background-fill); }
#seed-row button { min-height: 40px; margin: 0 0 12px; border-radius: var(--radius-md); flex: 0 0 auto; }
#seed-row button:last-child { margin-right: 12px; margin-left: 6px; }
.head input[type=number] { width: 56px !important; min-width: 0 !important; }
#settings .head { flex-wrap: nowrap; }
.dark input[type=range] { --neutral-200: var(--neutral-600); }

#preview, #pictures { height: min(66vh, 640px) !important; }
#pictures .preview::before { opacity: 1; background: var(--block-background-fill); }
#pictures .thumbnails:not(:has(button + button)) { display: none; }
#pictures:not(:has(.thumbnails button + button)) .media-button { height: 100% !important; }
#pictures:has(.empty) { height: min(46vh, 420px) !important; }
.picture-buttons { gap: 8px; flex-wrap: nowrap; } .picture-buttons button { min-height: 36px; white-space: nowrap; }

#bar { display: flex; align-items: center; gap: 12px; font-size: 14px; min-height: 24px; }
#bar progress { appearance: none; flex: 1; height: 6px; border: 0; border-radius: 3px; overflow: hidden;
  background: var(--border-color-primary); }
#bar progress::-webkit-progress-bar { background: var(--border-color-primary); border-radius: 3px; }
#bar progress::-webkit-progress-value { background: var(--button-primary-background-fill); transition: width .3s; }
#bar progress::-moz-progress-bar { background: var(--button-primary-background-fill); }
#bar .said { color: var(--body-text-color-subdued); white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
#bar .fault { color: var(--error-icon-color); }

.facts { font-size: 14px; line-height: 1.45; }
.facts p { margin: 0 0 6px; overflow-wrap: anywhere; }
.facts .without { color: var(--body-text-color-subdued); }
.facts .chips { display: flex; flex-wrap: wrap; gap: 6px; margin-top: 8px; }
.facts .chips span { background: var(--background-fill-secondary); border: 1px solid var(--border-color-primary);
  border-radius: 6px; padding: 1px 8px; font-size: 13px; color: var(--body-text-color-subdued); max-width: 100%; }
.quiet, .quiet p { color: var(--body-text-color-subdued); }

#wall, #pairs, #samples { border: 0; background: none; padding: 0; }
#wall .grid-wrap, #pairs .grid-wrap, #samples .grid-wrap { padding: 0; overflow: visible; height: auto !important;
  max-height: none !important; min-height: 0 !important; }
#wall .grid-container { grid-template-columns: repeat(auto-fill, minmax(132px, 1fr)) !important; gap: 8px; }
#wall .thumbnail-lg { aspect-ratio: 1; }
#pairs .grid-container { grid-template-columns: 1fr 1fr !important; gap: 10px; }
#big .image-container, #big .image-container > button, #big .image-frame { width: 100% !important; height: auto !important; }
#big img { width: 100% !important; height: auto !important; max-height: 60vh; object-fit: contain !important; }
#seen .thumbnail-item img { object-fit: contain !important; }
#compare { max-width: 900px; margin: 0 auto; }
#samples .grid-container { grid-template: none !important; grid-auto-rows: auto !important; }
#samples .thumbnail-item, #samples .thumbnail-item img, #samples .gallery-item { height: auto !important;
  aspect-ratio: auto !important; }
#sampler input, #size input, #model input { text-overflow: ellipsis; }

@media (max-width: 760px) {
  #create { grid-template: "ask" auto "made" auto "settings" auto / minmax(0, 1fr); gap: 12px; }
  #shelf { grid-template: "chosen" auto "thumbs" auto / minmax(0, 1fr); gap: 16px; }
  #made, #chosen { position: static; }
  #preview, #pictures { height: min(calc(100vw - 24px), 60vh) !important; }
  #pictures:has(.empty) { height: 120px !important; min-height: 0 !important; }
  #pictures:has(.empty) .empty { min-height: 0 !important; }
  #wall .grid-container { grid-template-columns: repeat(3, 1fr) !important; gap: 6px; }
  #mode label { font-size: 13.5px; }
  #training-head { flex-direction: column; } #training-head > * { width: 100%; }
}
"""

CAPTIONS_STYLE = (
    SHARED
    + """
#captions { gap: 12px; }
#captions .row { align-items: center; }
#captions button { white-space: nowrap; }
#all-captions .row > button, #captions-head > button, #crop-box .row > button { min-height: 40px; }
#captions .fsd-grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(264px, 1fr)); gap: 14px; }
#captions .fsd-card { border: 1px solid var(--border-color-primary); border-radius: 12px; padding: 10px; gap: 8px;
  background: var(--block-background-fill); min-width: 0 !important; }
#captions .fsd-card:focus-within { border-color: var(--fsd-accent); }
#captions .fsd-doing { gap: 6px; margin-top: auto; flex-wrap: nowrap; }
#captions .fsd-doing button { flex: 0 0 auto; font-weight: 400; white-space: nowrap; }
#captions .fsd-panel { border: 1px solid var(--fsd-accent); border-radius: 12px; padding: 12px; }
#captions .fsd-said { color: var(--body-text-color-subdued); font-size: 14px; min-height: 20px; }
#captions .fsd-wall { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 8px; }
#pages { justify-content: center; align-items: center; } #where { flex: 0 0 auto !important; width: auto !important; }
"""
)


def theme() -> Any:
    """The page's theme: system fonts, so that nothing is fetched."""
    import gradio as gr

    return gr.themes.Base(
        primary_hue="indigo",
        neutral_hue="zinc",
        radius_size="md",
        font=("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"),
        font_mono=("ui-monospace", "Menlo", "Consolas", "monospace"),
    ).set(
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover_dark="*primary_500",
        button_primary_text_color="white",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_400",
        block_label_text_color="*neutral_700",
        block_title_text_color="*neutral_700",
        block_info_text_color="*neutral_500",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
    )
