"""Look and behaviour of the run's report, all of it in the page: nothing is loaded."""

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; --quiet: #5c6470; --back: #fff; --text: #1a1c1f;
  --link: #0b62b5 }
@media (prefers-color-scheme: dark) {
  :root { --quiet: #a5adb8; --back: #15171a; --text: #e6e8ea; --link: #7db8f0 } }
* { box-sizing: border-box }
html { scroll-padding-top: 3.5rem }
body { margin: 0 auto; max-width: 86rem; padding: 0 1rem 3rem; font: 16px/1.5 system-ui, sans-serif;
  background: var(--back); color: var(--text) }
h1 { font-size: 1.6rem; margin: 1rem 0 0 }
h2 { font-size: 1.3rem; margin: 2.5rem 0 .5rem; padding-top: .5rem; border-top: 1px solid var(--line) }
h3 { font-size: 1.05rem; margin: 1.5rem 0 .25rem }
p, li, dd { max-width: 52rem; overflow-wrap: anywhere }
a { color: var(--link) }
code { font-size: .875em; overflow-wrap: anywhere }
nav { position: sticky; top: 0; z-index: 2; display: flex; gap: 1.1rem; overflow-x: auto; white-space: nowrap;
  margin: 0 -1rem; padding: .6rem 1rem; background: var(--back); border-bottom: 1px solid var(--line) }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .3rem 1.25rem; margin: .75rem 0 }
dt { color: var(--quiet) } dd { margin: 0 }
summary { cursor: pointer; padding: .4rem 0; color: var(--link) }
.quiet { color: var(--quiet); margin: .25rem 0 }
.wide { overflow-x: auto; border: 1px solid var(--line); border-radius: 6px; margin: .75rem 0; max-width: 100% }
table { border-collapse: separate; border-spacing: 0; width: 100%; font-size: .875rem;
  font-variant-numeric: tabular-nums }
th, td { padding: .4rem .7rem; text-align: right; white-space: nowrap; border-top: 1px solid var(--line) }
thead th { border-top: 0; background: var(--soft) }
tr > :first-child { position: sticky; left: 0; background: var(--back); text-align: left; font-weight: 600;
  border-right: 1px solid var(--line); max-width: 16rem; overflow: hidden; text-overflow: ellipsis }
thead tr > :first-child { background: linear-gradient(var(--soft), var(--soft)), var(--back) }
.words { text-align: left }
.spread { color: var(--quiet); font-size: .8em; font-weight: 400 }
.second { text-decoration: underline; text-underline-offset: 3px }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 19rem), 1fr)); gap: 1rem;
  margin: .75rem 0 }
figure { margin: 0; min-width: 0 }
.charts figure { border: 1px solid var(--line); border-radius: 6px; padding: .5rem .6rem }
figcaption { font-size: .875rem; font-weight: 600; overflow-wrap: anywhere }
figure svg { display: block; width: 100%; height: auto; max-width: 30rem; margin: .25rem auto 0 }
.picture { margin: .75rem 0 1.5rem }
.picture img { display: block; max-width: 100%; min-width: 36rem; height: auto; background: #fff; cursor: zoom-in }
button { font: inherit; min-width: 2.75rem; min-height: 2.75rem; padding: .25rem .9rem; border: 1px solid var(--line);
  border-radius: 6px; background: var(--soft); color: inherit; cursor: pointer }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px }
dialog { width: 100vw; height: 100dvh; max-width: none; max-height: none; margin: 0; padding: 0; border: 0;
  background: var(--back); color: var(--text) }
dialog[open] { display: flex; flex-direction: column }
.tools { display: flex; flex-wrap: wrap; gap: .5rem; align-items: center; padding: .5rem .75rem }
.tools b { flex: 1 1 12rem; overflow-wrap: anywhere }
.view { flex: 1; overflow: auto; cursor: grab; border-top: 1px solid var(--line) }
.view img { display: block; max-width: none; height: auto; margin: 0 auto; background: #fff }
@media print {
  :root { --quiet: #444; --back: #fff; --text: #000; color-scheme: light }
  body { max-width: none; font-size: 10pt; padding: 0 }
  nav, button, dialog { display: none !important }
  .wide { overflow: visible } .picture img { min-width: 0 }
  table { font-size: 6.5pt } th, td { padding: .15rem .25rem; white-space: normal }
  figure, tr { break-inside: avoid } h2, h3 { break-after: avoid }
  .charts { grid-template-columns: repeat(3, 1fr) }
}
"""

DIALOG = """
<dialog aria-label="Picture, enlarged">
<div class="tools"><b></b>
<button type="button" data-zoom="1.5" aria-label="Enlarge" title="Enlarge (+)">+</button>
<button type="button" data-zoom="0.6667" aria-label="Reduce" title="Reduce (-)">−</button>
<button type="button" data-zoom="0" title="Fit the width (0)">Fit</button>
<button type="button" data-close title="Close (Esc)">Close</button></div>
<div class="view" tabindex="0" role="region" aria-label="Picture; arrow keys move it"><img alt=""></div>
</dialog>
"""
"""Where a picture is shown enlarged: scrolled by touch, by arrow keys or by dragging it with a mouse."""

SCRIPT = """
const dialog = document.querySelector("dialog");
const view = dialog.querySelector(".view"), shown = view.querySelector("img");
let scale = 1; // 1: as wide as the view
function zoom(next) {
  const across = (view.scrollLeft + view.clientWidth / 2) / view.scrollWidth;
  const down = (view.scrollTop + view.clientHeight / 2) / view.scrollHeight;
  scale = Math.min(12, Math.max(1, next));
  shown.style.width = `${100 * scale}%`;
  view.scrollLeft = across * view.scrollWidth - view.clientWidth / 2;
  view.scrollTop = down * view.scrollHeight - view.clientHeight / 2;
}
function enlarge(picture) {
  shown.src = picture.src;
  shown.alt = picture.alt;
  dialog.querySelector("b").textContent = picture.alt;
  dialog.showModal();
  scale = Math.min(3, Math.max(1, picture.naturalWidth / view.clientWidth));
  shown.style.width = `${100 * scale}%`;
  view.scrollTo(0, 0);
  view.focus();
}
for (const figure of document.querySelectorAll(".picture")) {
  const picture = figure.querySelector("img"), button = figure.querySelector("button");
  button.hidden = false;
  button.addEventListener("click", () => enlarge(picture));
  picture.addEventListener("click", () => enlarge(picture));
}
for (const button of dialog.querySelectorAll("[data-zoom]"))
  button.addEventListener("click", () => zoom(scale * Number(button.dataset.zoom)));
dialog.querySelector("[data-close]").addEventListener("click", () => dialog.close());
dialog.addEventListener("keydown", (event) => {
  const factor = { "+": 1.5, "=": 1.5, "-": 2 / 3, "0": 0 }[event.key];
  if (factor !== undefined && !event.ctrlKey && !event.metaKey) zoom(scale * factor);
});
view.addEventListener("dblclick", () => zoom(scale > 1.01 ? 0 : 3));
view.addEventListener("wheel", (event) => {
  if (!event.ctrlKey) return;
  event.preventDefault();
  zoom(scale * (event.deltaY < 0 ? 1.2 : 1 / 1.2));
}, { passive: false });
view.addEventListener("pointermove", (event) => {
  if (event.pointerType === "mouse" && event.buttons & 1) view.scrollBy(-event.movementX, -event.movementY);
});
shown.addEventListener("dragstart", (event) => event.preventDefault());
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((its) => { its.open = true; }));
"""
