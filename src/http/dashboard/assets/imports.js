// Bulk loads: how far they have come.

import { get } from "./api.js";
import { $, el, fill } from "./dom.js";
import { capital, number, plural } from "./format.js";

const SHOWN = 20;
const IDLE_MS = 10_000;
const BUSY_MS = 2_000;

export const panel = {
    card: $("imports"),
    everyMs: IDLE_MS,
    role: "operator",
    async look(poller) {
        const { items } = await get(`/api/jobs?limit=${SHOWN}`);
        fill(this.card, items, (job) => job.jobId, cells);
        const isBusy = items.some((job) => ["queued", "running"].includes(job.status));
        poller.everyMs = isBusy ? BUSY_MS : IDLE_MS;
    },
    concerns: () => false,
};

const cells = (job) => [
    { at: job.createdAt },
    { text: capital(job.status) + (job.dryRun ? " (dry run)" : ""), class: job.status === "failed" ? "bad" : "" },
    { node: progress(job), class: "words" },
    { text: number(job.failedLines), class: `number ${job.failedLines ? "warn" : "quiet"}` },
];

function progress({ status, percent, imported, waiting, error }) {
    const done = plural(imported, "line");
    const why = waiting ?? error;
    const parts = [why ? `${done}. ${why}` : done];
    if (["queued", "running"].includes(status)) {
        parts.unshift(el("progress", { max: 100, value: percent, ariaLabel: "read so far" }), ` ${percent} %, `);
    }
    return el("span", {}, ...parts);
}
