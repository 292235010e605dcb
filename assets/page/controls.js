/* Controls that browsers lack: dragging, keys, tabs. */

import { by_id } from "./dash.js";

/** Call `move(event)` for every movement of a pointer pressed on the element. */
export function drag(element, move, focused = element) {
  element.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    element.setPointerCapture(event.pointerId);
    focused.focus({ preventScroll: true });
    event.preventDefault();
  });
  element.addEventListener("pointermove", (event) => {
    if (element.hasPointerCapture(event.pointerId)) move(event);
  });
}

/** Call `take(table[key])` for every key in the table. */
export function keys(element, table, take) {
  element.addEventListener("keydown", (event) => {
    const taken = event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey;
    if (taken || !Object.hasOwn(table, event.key)) return;
    event.preventDefault();
    take(table[event.key]);
  });
}

const all_tabs = () => /** @type {HTMLElement[]} */ ([...document.querySelectorAll("[role=tab]")]);

/** Tabs following the ARIA pattern: one is in the tab order, arrow keys move to the others. */
export function make_tabs() {
  const tabs = all_tabs();
  const beside = (step) => {
    const here = tabs.findIndex((tab) => tab === document.activeElement);
    return tabs[(here + step + tabs.length) % tabs.length];
  };
  for (const tab of tabs) {
    tab.addEventListener("click", () => open_tab(tab.id));
    keys(tab, { ArrowLeft: -1, ArrowRight: 1 }, (step) => {
      const next = beside(step);
      next.focus();
      open_tab(next.id);
    });
  }
}

/** Show the panel of this tab, "studio-tab" or "classic-tab". */
export function open_tab(id) {
  for (const tab of all_tabs()) {
    const open = tab.id === id;
    tab.setAttribute("aria-selected", String(open));
    tab.tabIndex = open ? 0 : -1;
    by_id(tab.getAttribute("aria-controls")).hidden = !open;
  }
}
