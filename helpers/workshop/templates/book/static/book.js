// The search shows a piece of each page that it finds. A browser lets no page that was opened from a file fetch
// another one, so what Sphinx's search would fetch comes from texts.js.
if (location.pathname.endsWith("/search.html")) {
  window.fetch = (address) => {
    const name = String(address).replace(/^(\.\/)?/, "").replace(/\.html$/, "");
    const main = document.createElement("div");
    main.setAttribute("role", "main");
    main.textContent = TEXTS[name] ?? "";
    return Promise.resolve({ text: () => main.outerHTML });
  };
}

// On paper what is folded is open.
window.addEventListener("beforeprint", () => {
  document.querySelectorAll("details:not([open])").forEach((one) => {
    one.open = true;
    one.dataset.folded = "";
  });
});
window.addEventListener("afterprint", () => {
  document.querySelectorAll("details[data-folded]").forEach((one) => (one.open = false));
});

// The theme's buttons that unfold a part of the contents have no name of their own.
document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll("li.has-children > details > summary").forEach((one) => {
    one.setAttribute("aria-label", one.closest("li").querySelector("a").textContent.trim());
  });
});

// What scrolls sideways can be reached with the keyboard.
window.addEventListener("load", () => {
  document.querySelectorAll("pre, .pst-scrollable-table-container, .bd-article table").forEach((one) => {
    if (one.scrollWidth > one.clientWidth) one.tabIndex = 0;
  });
});
