// The service's API: requests with the token, refusals as errors, and the service's clock.

import * as session from "./session.js";

const PATIENCE_MS = 10_000;

/** An answer that is no success; `status` 0: there was no answer. */
export class Refused extends Error {
    constructor(status, problem) {
        super(problem?.detail ?? (status ? `The service answered ${status}.` : "The service does not answer."));
        this.status = status;
        this.problem = problem ?? {};
    }
}

let skew = 0;

/** What time it is for the service, whose deadlines are shown: its clock counts where ours is a second off or more. */
export const now = () => Date.now() + skew;

function setClock(response) {
    const date = Date.parse(response.headers.get("date"));
    if (Number.isNaN(date)) return;
    // The header knows whole seconds only.
    const off = date + 500 - Date.now();
    skew = Math.abs(off) > 1_000 ? off : 0;
}

/** Headers of a request by whoever is signed in. */
export function headers(others = {}) {
    return session.token() ? { ...others, Authorization: `Bearer ${session.token()}` } : others;
}

/** A path whose ids are encoded: `` path`/api/inventory/items/${sku}` ``. */
export function path(parts, ...ids) {
    return String.raw({ raw: parts }, ...ids.map(encodeURIComponent));
}

/** Whether what was asked came while somebody else was signed in; then nobody wants the answer any more. */
async function ask(method, url, body) {
    const asker = session.token();
    const options = { method, headers: headers(), cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) };
    if (body !== undefined) {
        options.headers = { ...options.headers, "Content-Type": "application/json" };
        options.body = JSON.stringify(body);
    }
    let response, answer;
    try {
        response = await fetch(url, options);
        answer = await response.json();
    } catch {
        throw new Refused(response && !response.ok ? response.status : 0);
    }
    setClock(response);
    if (response.status === 401 && session.token() === asker) {
        document.dispatchEvent(new Event("unauthenticated"));
    }
    if (!response.ok) throw new Refused(response.status, answer);
    return answer;
}

export const get = (url) => ask("GET", url);
export const post = (url, body) => ask("POST", url, body);

/** The first `most` rows of a list, page after page. */
export async function rowsOf(url, most) {
    const rows = [];
    let page = await get(url);
    rows.push(...page.items);
    while (page.next && rows.length < most) {
        const separator = url.includes("?") ? "&" : "?";
        page = await get(`${url}${separator}after=${encodeURIComponent(page.next)}`);
        rows.push(...page.items);
    }
    return { rows, hasMore: page.next !== null };
}
