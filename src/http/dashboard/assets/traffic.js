// Requests a second, how long they take, what was refused, and which SKUs are asked for most.

import { Chart } from "./charts.js";
import { $, fill, itemUrl, say } from "./dom.js";
import { capital, millis, number, rate, words } from "./format.js";

export const CARDS = ["throughput", "latency", "refusals", "hottest"].map($);

let charts = null;

/** @param figures what `metrics.js` has read */
export function show({ past, refusals, hottest }) {
    charts ??= {
        throughput: new Chart($("throughput"), ["Writes", "Reads"], (value) => `${rate(value)}/s`),
        latency: new Chart($("latency"), ["99 % within", "This page waited"], millis),
    };
    const moments = past.map((point) => point.at / 1000);
    const line = (name) => past.map((point) => point[name]);
    charts.throughput.show([moments, line("writes"), line("reads")]);
    charts.latency.show([moments, line("p99"), line("trip")]);

    const all = refusals.reduce((sum, { total }) => sum + total, 0);
    say($("refusals-sum"), all ? [[number(all)], " since the service, or its counting, began."] : []);
    fill($("refusals"), refusals, ({ code }) => code, ({ code, recent, total }) => [
        { text: capital(words(code)), href: `/problems/${encodeURIComponent(code)}` },
        { text: recent ? number(recent) : "–", class: "number" },
        { text: number(total), class: "number quiet" },
    ]);
    fill($("hottest"), hottest, ({ sku }) => sku, ({ sku, count }) => [
        { text: sku, href: itemUrl(sku) },
        { text: number(count), class: "number" },
    ]);
}
