// Light or dark as the system has it, or as was chosen here. Not a module: it runs before the page is first painted.
(() => {
    const root = document.documentElement;
    const system = matchMedia("(prefers-color-scheme: dark)");
    const chosen = () => {
        try {
            return localStorage.getItem("holdfast.theme");
        } catch {
            return null; // Where nothing may be stored, the system decides.
        }
    };
    const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
    const show = () => {
        document.getElementById("theme").setAttribute("aria-pressed", String(isDark()));
        document.dispatchEvent(new Event("theme"));
    };
    if (["light", "dark"].includes(chosen())) root.dataset.theme = chosen();
    system.addEventListener("change", show);
    document.addEventListener("DOMContentLoaded", () => {
        show();
        document.getElementById("theme").addEventListener("click", () => {
            root.dataset.theme = isDark() ? "light" : "dark";
            try {
                localStorage.setItem("holdfast.theme", root.dataset.theme);
            } catch {
                // Then it is chosen until the page is left.
            }
            show();
        });
    });
})();
