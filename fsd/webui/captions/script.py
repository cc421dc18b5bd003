"""The script of the caption editor: a square that is dragged, and keys; for notebooks and for the studio."""

from __future__ import annotations

SCRIPT = r"""
(() => {
  if (window.fsdCaptions) return;
  window.fsdCaptions = true;
  let held = null, timer = 0;
  const within = (value, low, high) => Math.min(Math.max(value, low), Math.max(low, high));
  const facts = square => {
    const crop = square.closest('.fsd-crop'), style = square.style;
    const width = +crop.dataset.width, height = +crop.dataset.height;
    const part = (name, all) => Math.round(parseFloat(style[name]) * all / 100);
    return {crop, width, height, left: part('left', width), top: part('top', height), side: part('width', width)};
  };
  const draw = (square, left, top, side) => {
    const {width, height} = facts(square), least = Math.min(16, width, height);
    side = Math.round(within(side, least, Math.min(width, height)));
    left = Math.round(within(left, 0, width - side)); top = Math.round(within(top, 0, height - side));
    Object.assign(square.style, {left: 100 * left / width + '%', top: 100 * top / height + '%',
      width: 100 * side / width + '%', height: 100 * side / height + '%'});
    square.dataset.now = [left, top, side].join(',');
  };
  const say = square => {
    const input = document.querySelector('.' + square.closest('.fsd-crop').dataset.group + ' :is(input, textarea)');
    if (!input || !square.dataset.now) return;
    const kind = input.tagName === 'INPUT' ? HTMLInputElement : HTMLTextAreaElement;
    Object.getOwnPropertyDescriptor(kind.prototype, 'value').set.call(input, square.dataset.now + ';' + Date.now());
    for (const name of ['input', 'change']) input.dispatchEvent(new Event(name, {bubbles: true}));
  };
  document.addEventListener('pointerdown', event => {
    const square = event.target.closest && event.target.closest('.fsd-crop .fsd-square');
    if (!square) return;
    event.preventDefault(); square.focus();
    const corner = event.target.classList.contains('fsd-corner') ? event.target.className.slice(-2) : '';
    held = {square, corner, x: event.clientX, y: event.clientY, ...facts(square)};
    held.scale = held.width / square.closest('.fsd-frame').clientWidth;
  });
  document.addEventListener('pointermove', event => {
    if (!held) return;
    const x = (event.clientX - held.x) * held.scale, y = (event.clientY - held.y) * held.scale;
    let {left, top, side} = held;
    if (!held.corner) return draw(held.square, left + x, top + y, side);
    const west = held.corner[1] === 'w', north = held.corner[0] === 'n';
    const most = Math.min(west ? left + side : held.width - left, north ? top + side : held.height - top);
    const next = within(Math.round(side + ((west ? -x : x) + (north ? -y : y)) / 2), Math.min(16, most), most);
    draw(held.square, west ? left + side - next : left, north ? top + side - next : top, next);
  });
  document.addEventListener('pointerup', () => { if (held) { const {square} = held; held = null; say(square); } });
  document.addEventListener('keydown', event => {
    const square = event.target.closest && event.target.closest('.fsd-crop .fsd-square');
    if (square) return nudge(square, event);
    if (event.key !== 'Enter' || !(event.ctrlKey || event.metaKey)) return;
    const field = event.target.closest && event.target.closest('.fsd-captions .fsd-text textarea');
    if (!field) return;
    event.preventDefault(); event.stopPropagation();
    const all = [...field.closest('.fsd-captions').querySelectorAll('.fsd-text textarea')].filter(one => one.offsetParent);
    const next = all[all.indexOf(field) + (event.shiftKey ? -1 : 1)];
    field.blur();
    if (next) next.focus();
  }, true);
  const nudge = (square, event) => {
    const {left, top, side, width} = facts(square), step = event.shiftKey ? 1 : Math.max(1, Math.round(width / 100));
    const ways = {ArrowLeft: [-1, 0, 0], ArrowRight: [1, 0, 0], ArrowUp: [0, -1, 0], ArrowDown: [0, 1, 0],
      '+': [-1, -1, 2], '=': [-1, -1, 2], '-': [1, 1, -2]};
    const way = ways[event.key];
    if (!way) return;
    event.preventDefault(); event.stopPropagation();
    draw(square, left + way[0] * step, top + way[1] * step, side + way[2] * step);
    clearTimeout(timer); timer = setTimeout(() => say(square), 400);
  };
  document.addEventListener('focusout', event => clearTimeout(event.target.fsdTimer));
  document.addEventListener('input', event => {
    const field = event.target.closest && event.target.closest('.fsd-captions .fsd-text textarea');
    if (!field || !event.isTrusted) return;
    clearTimeout(field.fsdTimer);
    const typed = field.value;
    field.fsdTimer = setTimeout(() => {
      if (field.value !== typed) return;
      for (const name of ['change', 'blur']) field.dispatchEvent(new Event(name, {bubbles: name === 'change'}));
    }, 1500);
  });
})();
"""
"""Of a crop's square that is dragged, the numbers "left,top,side" go to the input within the class that it names.

The events are those that typing would cause, so that the page's own widgets hear of it. A caption is also heard of when its
field is left, else when typing pauses, unless something else has changed it by then; Ctrl+Enter goes on to the next one.
"""
