// The event stream, followed: read by `fetch`, as an EventSource cannot say who asks. What it brings tells the panels
// that something has changed, and what; the panels ask for what they show. So a burst of events costs each one look.

import { headers } from "./api.js";

/** A stream that is silent for longer is taken as broken; the service says something well within that. */
const SILENCE_MS = 60_000;
const RETRY_MS = [500, 1_000, 2_000, 5_000];
/** What is not there, or not for this role, is looked for again after so long. */
const ABSENT_MS = 60_000;
/** With more events than this in one piece it is no longer told what they were about. */
const MANY = 100;

/**
 * Follows what is new until it is aborted. After a break too it goes on with what is new: the panels, told that
 * anything may have happened, look for themselves what they have missed, however much that was.
 *
 * @param tell `(events)`: what has come, or null where it may have been anything
 * @param state `("live" | "lost" | "absent")`
 */
export async function follow(signal, tell, state) {
    let failures = 0;
    while (!signal.aborted) {
        let retry = RETRY_MS[Math.min(failures, RETRY_MS.length - 1)];
        try {
            const response = await open(signal);
            if (response.ok) {
                state("live");
                tell(null);
                failures = 0;
                for await (const events of pieces(response.body, signal)) tell(events);
            } else if ([401, 403, 404].includes(response.status)) {
                state("absent");
                retry = ABSENT_MS;
            }
        } catch {
            // It broke off, or there is no service: then it is tried again.
        }
        if (signal.aborted) return;
        if (retry !== ABSENT_MS) state("lost");
        failures += 1;
        await pause(retry, signal);
    }
}

/** The wait for its head is cut short as well, as a service that hangs may take the connection and say nothing. */
async function open(signal) {
    const silence = new AbortController();
    const timer = setTimeout(() => silence.abort(), SILENCE_MS);
    try {
        return await fetch("/api/events/stream", {
            headers: headers({ Accept: "text/event-stream" }),
            cache: "no-store",
            signal: AbortSignal.any([signal, silence.signal]),
        });
    } finally {
        clearTimeout(timer);
    }
}

/** What comes between two reads: its events, or null where they are too many to be looked at. */
async function* pieces(body, signal) {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    try {
        while (!signal.aborted) {
            const { value, done } = await within(SILENCE_MS, reader.read());
            if (done) return;
            const blocks = (rest + value).split(/\r?\n\r?\n/);
            rest = blocks.pop();
            const texts = blocks.map(data).filter((text) => text !== "");
            if (texts.length > MANY) yield null;
            else if (texts.length > 0) yield texts.map((text) => JSON.parse(text));
        }
    } finally {
        reader.cancel().catch(() => {});
    }
}

/** The data of a block; comments have none. */
function data(block) {
    const lines = block.split(/\r?\n/).filter((line) => line.startsWith("data:"));
    return lines.map((line) => line.slice("data:".length)).join("\n").trim();
}

function within(ms, promise) {
    let timer;
    const silence = new Promise((_, fail) => {
        timer = setTimeout(() => fail(new Error("the stream is silent")), ms);
    });
    return Promise.race([promise, silence]).finally(() => clearTimeout(timer));
}

/** Until the time is over, the service is there again, or nobody waits any more. */
function pause(ms, signal) {
    return new Promise((resolve) => {
        const timer = setTimeout(resolve, ms);
        const now = () => {
            clearTimeout(timer);
            resolve();
        };
        document.addEventListener("found", now, { once: true });
        signal.addEventListener("abort", now, { once: true });
    });
}
