// Who is signed in. The token is kept in memory and in sessionStorage: so a reload goes on, another tab or a later day
// does not, and no request carries it by itself, as it would a cookie. No script but the service's own runs here that
// could read it.

const KEY = "holdfast.session";
const ROLES = ["viewer", "clerk", "operator", "admin"];

let session = restored();

function restored() {
    try {
        const kept = JSON.parse(sessionStorage.getItem(KEY));
        return kept && Date.parse(kept.expiresAt) > Date.now() ? kept : null;
    } catch {
        return null;
    }
}

export const token = () => session?.token ?? null;
export const user = () => session?.user ?? null;

/** @param login the answer of `POST /api/auth/login` */
export function begin(login) {
    session = login;
    try {
        sessionStorage.setItem(KEY, JSON.stringify(login));
    } catch {
        // Then it lasts until the page is left.
    }
}

export function end() {
    session = null;
    try {
        sessionStorage.removeItem(KEY);
    } catch {
        // Then there was nothing.
    }
}

/** Whether it is somebody who sees all stores. */
export const seesAll = () => !session?.user.stores;

/** Whether it has the rights of this role. The service decides; where nobody signs in, everybody may do everything. */
export function may(role) {
    return session === null || ROLES.indexOf(session.user.role) >= ROLES.indexOf(role);
}
