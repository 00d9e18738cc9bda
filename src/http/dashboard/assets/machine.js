// What waits, and how the disk does.

import { $, figures } from "./dom.js";

export const CARD = $("machine");

/** @param machine what `metrics.js` has read: names and values */
export const show = ({ machine }) => figures(CARD.querySelector(".facts"), machine);
