"""How the caption editor looks: in notebooks and in the studio, whose colours it takes, and what only notebooks need."""

from __future__ import annotations

STYLE = """
.fsd-captions { --fsd-ink: var(--body-text-color, var(--jp-ui-font-color1, #18181b));
  --fsd-quiet: var(--body-text-color-subdued, var(--jp-ui-font-color2, #52525b));
  --fsd-line: var(--border-color-primary, var(--jp-border-color2, #e4e4e7));
  --fsd-paper: var(--block-background-fill, var(--jp-layout-color1, #fff));
  --fsd-ground: var(--background-fill-secondary, var(--jp-layout-color2, #f4f4f5));
  --fsd-accent: #4f46e5; --fsd-bad: #c2410c; --fsd-good: #15803d; color: var(--fsd-ink); }
.dark .fsd-captions, [data-jp-theme-light=false] .fsd-captions, [theme=dark] .fsd-captions {
  --fsd-bad: #fb923c; --fsd-good: #4ade80; }
[theme=dark] .fsd-captions { --fsd-ink: #e4e4e7; --fsd-quiet: #a1a1aa; --fsd-line: #3f3f46; --fsd-paper: #27272a;
  --fsd-ground: #18181b; }
.fsd-picture { position: relative; height: 176px; border-radius: 8px; overflow: hidden; background: var(--fsd-ground);
  display: flex; align-items: center; justify-content: center; }
.fsd-frame { position: relative; overflow: hidden; line-height: 0; max-height: 100%; }
.fsd-picture .fsd-frame img { display: block; max-width: 100%; max-height: 176px; width: auto; height: auto; margin: 0; }
.fsd-square { position: absolute; box-sizing: border-box; border: 1.5px solid #fff; border-radius: 2px;
  box-shadow: 0 0 0 1px rgba(0,0,0,.35), 0 0 0 2000px rgba(20,20,25,.42); }
.fsd-note { position: absolute; z-index: 1; left: 8px; top: 8px; padding: 2px 8px; border-radius: 999px; font-size: 12px;
  line-height: 16px; background: rgba(24,24,27,.78); color: #fff; max-width: calc(100% - 32px); overflow: hidden;
  text-overflow: ellipsis; white-space: nowrap; }
.fsd-broken { padding: 12px; font-size: 13px; line-height: 18px; color: var(--fsd-bad); overflow-wrap: anywhere; }
.fsd-top { display: flex; gap: 8px; justify-content: space-between; align-items: baseline; font-size: 12.5px;
  line-height: 18px;
  min-width: 0; }
.fsd-name { color: var(--fsd-quiet); overflow: hidden; text-overflow: ellipsis; white-space: nowrap; min-width: 0; }
.fsd-saved { color: var(--fsd-good); white-space: nowrap; font-weight: 600; }
.fsd-meter { display: flex; align-items: center; gap: 8px; margin: 2px 0; font-size: 12px; line-height: 18px;
  color: var(--fsd-quiet); font-variant-numeric: tabular-nums; }
.fsd-meter .fsd-bar { position: relative; flex: 1; height: 6px; border-radius: 3px; background: var(--fsd-ground);
  box-shadow: inset 0 0 0 1px var(--fsd-line); }
.fsd-meter i { position: absolute; inset: 0 auto 0 0; border-radius: 3px; background: var(--fsd-accent); }
.fsd-meter u { position: absolute; top: -3px; bottom: -3px; width: 2px; background: var(--fsd-quiet); }
.fsd-over i { background: var(--fsd-bad); } .fsd-over > span:last-child { color: var(--fsd-bad); font-weight: 600; }
.fsd-lost { font-size: 12.5px; line-height: 17px; color: var(--fsd-bad); overflow-wrap: anywhere; }
.fsd-lost q { quotes: none; text-decoration: line-through; }
.fsd-quiet { font-size: 12.5px; line-height: 17px; color: var(--fsd-quiet); overflow-wrap: anywhere; }
.fsd-crop { display: flex; justify-content: center; background: var(--fsd-ground); border-radius: 8px; padding: 12px;
  overflow: hidden; }
.fsd-crop .fsd-frame { max-width: 100%; }
.fsd-crop img { display: block; max-width: 100%; max-height: min(58vh, 520px); width: auto; height: auto; margin: 0;
  user-select: none; }
.fsd-crop .fsd-square { cursor: move; touch-action: none; border-width: 2px; }
.fsd-crop .fsd-square:focus { outline: 3px solid var(--fsd-accent); outline-offset: 1px; }
.fsd-corner { position: absolute; width: 16px; height: 16px; background: #fff; border: 2px solid var(--fsd-accent);
  border-radius: 50%; box-sizing: border-box; }
.fsd-corner.nw { left: -1px; top: -1px; cursor: nwse-resize; } .fsd-corner.ne { right: -1px; top: -1px; cursor: nesw-resize; }
.fsd-corner.sw { left: -1px; bottom: -1px; cursor: nesw-resize; } .fsd-corner.se { right: -1px; bottom: -1px;
  cursor: nwse-resize; }
.fsd-hidden { position: absolute !important; width: 1px !important; height: 1px !important; min-width: 0 !important;
  overflow: hidden !important; clip-path: inset(50%); padding: 0 !important; margin: 0 !important; border: 0 !important; }
"""

NOTEBOOK_STYLE = """
.fsd-captions { font-family: system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; max-width: 1240px;
  padding: 4px 2px 16px;
  overflow: visible; }
.fsd-captions .widget-html, .fsd-captions .widget-html-content { margin: 0; height: auto; line-height: normal; }
.fsd-captions .fsd-head { align-items: center; gap: 8px; flex-wrap: wrap; margin-bottom: 10px; }
.fsd-captions .fsd-head h3 { margin: 0; font-size: 18px; letter-spacing: -.01em; color: var(--fsd-ink); }
.fsd-captions .fsd-tags { flex: 1 1 0; min-width: 0; }
.fsd-captions .fsd-said { flex: 1 1 160px; min-width: 0; text-align: right;
  font-size: 13px; color: var(--fsd-quiet); min-height: 20px; line-height: 20px; }
.fsd-captions .fsd-said .fsd-fault { color: var(--fsd-bad); }
.fsd-captions .fsd-tools { border: 1px solid var(--fsd-line); border-radius: 12px; padding: 12px; margin-bottom: 14px;
  background: var(--fsd-paper); gap: 8px; overflow: visible; }
.fsd-captions .fsd-row { align-items: center; gap: 8px; flex-wrap: wrap; overflow: visible; }
.fsd-captions .fsd-row > .fsd-label, .fsd-captions .fsd-label { width: 74px; flex: 0 0 74px; font-size: 13px;
  color: var(--fsd-quiet); }
.fsd-captions .widget-inline-hbox { margin: 0; height: auto; }
.fsd-captions input[type=text], .fsd-captions input[type=number] { height: 34px; border-radius: 8px;
  border: 1px solid var(--fsd-line);
  padding: 0 10px; font-size: 14px; background: var(--fsd-paper); color: var(--fsd-ink); box-sizing: border-box; }
.fsd-captions textarea { border-radius: 8px; border: 1px solid var(--fsd-line); padding: 8px 10px;
  font: 14px/1.4 system-ui, sans-serif;
  background: var(--fsd-paper); color: var(--fsd-ink); resize: vertical; width: 100%; box-sizing: border-box; }
.fsd-captions textarea::placeholder { color: var(--fsd-quiet); opacity: .75; font-style: italic; }
.fsd-captions :is(input, textarea):focus { border-color: var(--fsd-accent);
  outline: 2px solid color-mix(in srgb, var(--fsd-accent) 25%, transparent); }
.fsd-captions .jupyter-button, .fsd-captions .widget-button { height: 34px; line-height: 32px; border-radius: 8px;
  width: auto;
  padding: 0 14px; margin: 0; border: 1px solid var(--fsd-line); background: var(--fsd-paper); color: var(--fsd-ink);
  font-size: 13.5px;
  box-shadow: none; flex: 0 0 auto; }
.fsd-captions .widget-button:hover:enabled { background: var(--fsd-ground); box-shadow: none; }
.fsd-captions .widget-button:focus-visible { outline: 2px solid var(--fsd-accent); }
.fsd-captions .widget-button:disabled { opacity: .45; }
.fsd-captions .fsd-primary.widget-button { background: var(--fsd-accent); border-color: var(--fsd-accent); color: #fff; }
.fsd-captions .fsd-primary.widget-button:hover:enabled { background: #4338ca; }
.fsd-captions .fsd-tag.widget-button { height: 28px; line-height: 26px; border-radius: 999px; padding: 0 12px;
  font-size: 13px;
  background: var(--fsd-ground); max-width: 260px; }
.fsd-captions .widget-checkbox { width: auto; margin: 0; }
.fsd-captions .widget-checkbox input { margin: 0 6px 0 0; vertical-align: middle; }
.fsd-captions .widget-checkbox label { font-size: 13px; }
.fsd-captions .fsd-grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(264px, 1fr)); gap: 14px;
  overflow: visible; }
.fsd-captions .fsd-card { border: 1px solid var(--fsd-line); border-radius: 12px; padding: 10px;
  background: var(--fsd-paper); gap: 8px;
  overflow: hidden; margin: 0; min-width: 0; }
.fsd-captions .fsd-card:focus-within { border-color: var(--fsd-accent); }
.fsd-captions .fsd-card .widget-textarea { width: 100%; margin: 0; height: auto; }
.fsd-captions .fsd-card .fsd-doing { gap: 6px; margin-top: auto; overflow: visible; }
.fsd-captions .fsd-card .fsd-doing .widget-button { height: 30px; line-height: 28px; padding: 0 10px; font-size: 13px; }
.fsd-captions .fsd-pages { justify-content: center; margin: 14px 0 0; }
.fsd-captions .fsd-shelf { margin-top: 22px; } .fsd-captions .fsd-shelf h3 { margin: 0; font-size: 16px; }
.fsd-captions .fsd-empty { padding: 40px 12px; text-align: center; color: var(--fsd-quiet); font-size: 14px; }
.fsd-captions .fsd-number { width: 150px; } .fsd-captions .fsd-number label { font-size: 13px; }
.fsd-captions .fsd-panel { border: 1px solid var(--fsd-accent); border-radius: 12px; padding: 12px; margin-bottom: 14px;
  gap: 10px;
  background: var(--fsd-paper); overflow: visible; }
"""
