// Gentle polling: one request of a kind at a time, none while the page is hidden, sooner when an event calls for it.

import { Refused } from "./api.js";

/**
 * From one look to the next it is so long at least, however many events call for it: a busy service is asked as often by each
 * page that is open. Panels that cost it more say so themselves.
 */
const SETTLE_MS = 1_000;
/** What is not there, or not for this role, is looked for again after so long. */
const ABSENT_MS = 60_000;

const pollers = new Set();

export class Poller {
    #timer = null;
    #isRunning = false;
    #wantsMore = false;
    #isStopped = false;
    #lastBegan = 0;

    /**
     * @param everyMs between the end of one look and the next
     * @param look asks and shows; what it throws goes to `onFailure`
     */
    constructor(everyMs, look, { onSuccess = () => {}, onFailure = () => {}, settleMs = SETTLE_MS } = {}) {
        Object.assign(this, { everyMs, look, onSuccess, onFailure, settleMs });
        pollers.add(this);
        this.#schedule(0);
    }

    /** Something has changed: look soon. */
    nudge() {
        if (this.#isRunning) this.#wantsMore = true;
        else this.#schedule(Math.max(0, this.#lastBegan + this.settleMs - Date.now()));
    }

    /** Somebody waits for it: look at once. */
    hurry() {
        if (this.#isRunning) this.#wantsMore = true;
        else this.#schedule(0);
    }

    stop() {
        this.#isStopped = true;
        clearTimeout(this.#timer);
        pollers.delete(this);
    }

    #schedule(ms) {
        clearTimeout(this.#timer);
        if (!this.#isStopped && !document.hidden) this.#timer = setTimeout(() => this.#run(), ms);
    }

    async #run() {
        this.#isRunning = true;
        this.#lastBegan = Date.now();
        let next = this.everyMs;
        try {
            await this.look();
            if (!this.#isStopped) this.onSuccess();
        } catch (error) {
            if (!(error instanceof Refused)) console.error(error);
            if ([403, 404].includes(error.status)) next = ABSENT_MS;
            if (!this.#isStopped) this.onFailure(error);
        }
        this.#isRunning = false;
        this.#schedule(this.#wantsMore ? this.settleMs : next);
        this.#wantsMore = false;
    }
}

// Shown again, or with the service gone or back, nobody waits for the next turn.
for (const change of ["visibilitychange", "lost", "found"]) {
    document.addEventListener(change, () => pollers.forEach((poller) => poller.hurry()));
}
