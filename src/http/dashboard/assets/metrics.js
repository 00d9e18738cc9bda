// `/api/metrics`, as the panels need it: rates from counts, a past to draw, and what gives reason for doubt.

import { get } from "./api.js";
import { bytes, compact, millis, number, rate } from "./format.js";

export async function read() {
    return figuresOf(await get("/api/metrics"));
}

function figuresOf(form) {
    return { figures: [], doubts: [], past: [], refusals: [], hottest: [], machine: [] };
}
