/* The interface to Dash, which holds the choices and calls functions as stylizer/web/page/callbacks.py specifies. */

import { Problem } from "../engines/problem.js";

export const PATIENCE = 150;                    // ms of work before a status is shown
const LOOK = 20, LOST = 20000;                  // ms between checks of what Dash has drawn, and until we give up

const dash = () => /** @type {any} */ (window).dash_clientside;

/** Set properties of the component with this id. */
export const set = (id, props) => dash().set_props(id, props);

/** Show a note next to what it concerns. */
export const note = (id, text, className = "note") => set(id, { children: text, className });

export const element = (type, props) => ({ namespace: "dash_html_components", type, props });

/** The element with this id; throws if there is none. */
export function by_id(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no element #${id}`);
  return found;
}

/** The same for an input, select or button. @returns {any} */
export const control = (id) => by_id(id);

/** The first element within `within` that matches a selector; throws if there is none.
 *  @template {string} Selector @param {ParentNode} within @param {Selector} selector
 *  @returns {Selector extends keyof HTMLElementTagNameMap ? HTMLElementTagNameMap[Selector] : HTMLElement} */
export function child(within, selector) {
  const found = within.querySelector(selector);
  if (!found) throw new Error(`the page has no element ${selector} there`);
  return /** @type {any} */ (found);            // TypeScript cannot narrow the conditional type
}

/** The parent element; throws if there is none. @param {HTMLElement} element */
export function parent_of(element) {
  if (!element.parentElement) throw new Error(`the element #${element.id} has no parent`);
  return element.parentElement;
}

/** A slider's value in words, for display and for screen readers. */
export function say_value(id, words) {
  by_id(id).setAttribute("aria-valuetext", words);
  return words;
}

/** Wait until Dash has made a condition true. Throws Problem on timeout. */
export async function until(condition) {
  for (const end = performance.now() + LOST; !condition();) {
    if (performance.now() > end) throw new Problem({ detail: "the page did not respond; try again" });
    await new Promise((resolve) => setTimeout(resolve, LOOK));
  }
}

/** Wrap functions that take and return values by name, for Dash to call.
 *
 *  Each gets `(values, triggered)`: the callback's inputs and states by their ids in snake case, and the ids of the
 *  inputs that changed. With several outputs it returns an object with the same naming; missing ones stay unchanged.
 *
 *  @param {Record<string, (values: any, triggered: string[]) => any>} functions */
export function by_name(functions) {
  const wrap = (work) => () => {
    const { inputs_list, states_list, outputs_list, triggered } = dash().callback_context;
    const given = [...inputs_list, ...states_list ?? []];
    const values = Object.fromEntries(given.map(({ id, value }) => [snake(id), value]));
    const answer = work(values, triggered.map(({ prop_id }) => prop_id.replace(/\.\w+$/, "")));
    if (!Array.isArray(outputs_list)) return answer;
    const unchanged = dash().no_update;
    return outputs_list.map(({ id }) => (Object.hasOwn(answer, snake(id)) ? answer[snake(id)] : unchanged));
  };
  return Object.fromEntries(Object.entries(functions).map(([name, work]) => [name, wrap(work)]));
}

const snake = (id) => id.replaceAll("-", "_");
