// What SKUs are called, for lists that do not say it. A name is asked for once, one after the other.

import { get, path } from "./api.js";

/** So many are asked for at a time, so that a long list does not become as many requests at once. */
const AT_A_TIME = 10;

const names = new Map();

/** Products that were never named are called as their SKU: that says nothing more. */
export function learn(sku, name) {
    names.set(sku, name && name !== sku ? name : "");
}

/** Nothing where it is not known, yet or at all. */
export const nameOf = (sku) => names.get(sku) ?? "";

export async function ask(skus) {
    const unknown = skus.filter((sku) => !names.has(sku)).slice(0, AT_A_TIME);
    for (const sku of unknown) {
        try {
            learn(sku, (await get(path`/api/products/${sku}`)).name);
        } catch (error) {
            if (error.status === 404) learn(sku, "");
            else return;
        }
    }
}
