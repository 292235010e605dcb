/* Between this page and Dash: Dash holds what was chosen, and calls our functions as stylizer/web/callbacks.py says. */

import { Problem } from "../engines/problem.js";

export const PATIENCE = 150;                    // ms of work that pass without a word
const LOOK = 20, LOST = 20000;                  // ms between looks at what Dash has drawn, and until we give up

const dash = () => /** @type {any} */ (window).dash_clientside;

/** Set properties of the component with this id. */
export const set = (id, props) => dash().set_props(id, props);

/** Words beside what they are about. */
export const note = (id, text, className = "note") => set(id, { children: text, className });

export const element = (type, props) => ({ namespace: "dash_html_components", type, props });

/** The element with this id, which the layout has. */
export function by_id(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no element #${id}`);
  return found;
}

/** The same for an input, select or button. @returns {any} */
export const control = (id) => by_id(id);

/** The first element that a selector finds within another one or the page, which has it.
 *  @template {string} Selector @param {ParentNode} within @param {Selector} selector
 *  @returns {Selector extends keyof HTMLElementTagNameMap ? HTMLElementTagNameMap[Selector] : HTMLElement} */
export function child(within, selector) {
  const found = within.querySelector(selector);
  if (!found) throw new Error(`the page has no element ${selector} there`);
  return /** @type {any} */ (found);            // TypeScript cannot tell which of the two types it is
}

/** The element that this one lies in. @param {HTMLElement} element */
export function parent_of(element) {
  if (!element.parentElement) throw new Error(`the element #${element.id} lies in no other`);
  return element.parentElement;
}

/** A slider's value in words, for the eye and for screen readers. */
export function say_value(id, words) {
  by_id(id).setAttribute("aria-valuetext", words);
  return words;
}

/** Wait for a condition that Dash will meet when it gets to it. Throws Problem if it never does. */
export async function until(condition) {
  for (const end = performance.now() + LOST; !condition();) {
    if (performance.now() > end) throw new Problem({ detail: "the page did not respond; try again" });
    await new Promise((resolve) => setTimeout(resolve, LOOK));
  }
}

/** Functions as Dash calls them, made from functions that take and give values by name.
 *
 *  Each gets `(values, triggered)`: the callback's inputs and states by their ids in snake case, and the ids of the
 *  inputs that changed. With several outputs it returns an object named in the same way; what is missing stays as it
 *  is.
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
