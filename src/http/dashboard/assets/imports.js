// Bulk loads: how far they have come.

import { get } from "./api.js";
import { $, el, fill } from "./dom.js";
import { capital, number } from "./format.js";

const SHOWN = 20;
const IDLE_MS = 10_000;
const BUSY_MS = 2_000;

export const panel = {
    card: $("imports"),
    everyMs: IDLE_MS,
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
    { text: capital(job.status) + (job.dryRun ? " (dry run)" : ""), class: job.status === "failed" ? "bad" : "", title: job.error ?? "" },
    { node: progress(job), class: "words" },
    { text: number(job.failedLines), class: `number ${job.failedLines ? "warn" : "quiet"}` },
];

function progress({ status, readBytes, totalBytes, importedLines }) {
    const done = `${number(importedLines)} lines`;
    if (!["queued", "running"].includes(status)) return el("span", {}, done);
    const share = totalBytes ? readBytes / totalBytes : 0;
    const bar = el("progress", { max: 1, value: share, ariaLabel: "read so far" });
    return el("span", {}, bar, ` ${Math.floor(share * 100)} %, ${done}`);
}
