// Runs Netron inside one page, with nothing outside it.
//
// The page carries one gzipped bundle (see page.py): Netron's own modules, its style sheet and its body,
// the metadata of the operators in use, and the model without its weights. This script unpacks the bundle
// and gives Netron a `Host`, the object through which it reaches the world. This host knows no network,
// no cookies, no dialogs before the graph, no telemetry and no clock.
"use strict";
(async () => {
    const nonce = document.currentScript.nonce;

    const unpack = async () => {
        const text = document.getElementById("bundle").textContent;
        const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
        const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
        const data = new Uint8Array(await new Response(stream).arrayBuffer());
        const end = data.indexOf(10); // the index is the first line
        const entries = new Map();
        let offset = end + 1;
        for (const [name, length] of JSON.parse(new TextDecoder().decode(data.subarray(0, end)))) {
            entries.set(name, data.subarray(offset, offset + length));
            offset += length;
        }
        return entries;
    };
    const bundle = await unpack();
    const read = (name) => new TextDecoder().decode(bundle.get(name));
    const settings = JSON.parse(read("settings.json"));

    // --- Netron's modules, wrapped by page.py into functions that are run once, when they are first asked for.
    const definitions = new Map();
    const loaded = new Map();
    const load = (name) => {
        if (!loaded.has(name)) {
            if (!definitions.has(name)) {
                throw new Error(`Netron does not recognise this file: it asks for '${name}', which belongs to other formats.`);
            }
            loaded.set(name, {});
            definitions.get(name)(loaded.get(name), load);
        }
        return loaded.get(name);
    };
    window.defineNetronModule = (name, run) => definitions.set(name, run);
    const script = document.createElement("script");
    script.nonce = nonce;
    script.textContent = read("netron.js");
    document.head.append(script);

    // --- What a model may do to the page that shows it: nothing. The policy of the page stops every script but this
    // one. Here its markup becomes text, where Netron would pass it on (in the documentation that a model brings along),
    // and its links lead nowhere.
    const allowed = new Set((
        "a b blockquote br code dd del div dl dt em h1 h2 h3 h4 h5 h6 hr i kbd li ol p pre span strong sub sup svg " +
        "table tbody td th thead tr tt ul use").split(" "));
    const inner = Object.getOwnPropertyDescriptor(Element.prototype, "innerHTML");
    Object.defineProperty(Element.prototype, "innerHTML", {
        ...inner,
        set(value) {
            const parsed = document.implementation.createHTMLDocument(""); // loads nothing and runs nothing
            inner.set.call(parsed.body, value);
            for (const element of parsed.body.querySelectorAll("*")) {
                if (!allowed.has(element.localName)) {
                    element.replaceWith(element.outerHTML);
                }
            }
            inner.set.call(this, inner.get.call(parsed.body));
        }
    });
    document.addEventListener("click", (event) => {
        if (event.target instanceof Element && event.target.closest("a")) {
            event.preventDefault();
        }
    }, true);
    // Netron focuses its graph when it opens. Inside a notebook that would take the keyboard away from the cells.
    const focus = HTMLElement.prototype.focus;
    HTMLElement.prototype.focus = function(options) {
        if (document.hasFocus()) {
            focus.call(this, { preventScroll: true, ...options });
        }
    };

    const style = document.createElement("style");
    style.textContent = read("netron.css");
    document.head.append(style);
    document.body.className = "welcome spinner";
    document.body.insertAdjacentHTML("beforeend", read("body.html"));

    // --- The weights stay behind. Where Netron insists on a stream of the right length, it gets a hollow one.
    const base = load("./base.js");
    const zip = load("./zip.js");
    class Hollow {
        constructor(length) {
            this.length = length;
            this.position = 0;
        }
        seek(position) {
            this.position = position < 0 ? this.length + position : position;
        }
        skip(count) {
            this.position += count;
        }
        stream(length) {
            return new Hollow(length);
        }
        peek() {
            return new Uint8Array(0);
        }
        read() {
            return new Uint8Array(0);
        }
    }
    const open = zip.Archive.open;
    zip.Archive.open = (...parameters) => {
        const archive = open(...parameters);
        for (const name of archive ? archive.entries.keys() : []) {
            if (Object.hasOwn(settings.hollow, name)) {
                archive.entries.set(name, new Hollow(settings.hollow[name]));
            }
        }
        return archive;
    };
    // Some formats learn a tensor's type from its data, so one value of it was kept. It is not shown as the tensor.
    const empty = Object.getOwnPropertyDescriptor(base.Tensor.prototype, "empty").get;
    Object.defineProperty(base.Tensor.prototype, "empty", {
        get() {
            if (empty.call(this)) {
                return true;
            }
            const size = ((this.type && this.type.shape && this.type.shape.dimensions) || []).reduce((a, b) => a * Number(b), 1);
            const values = this.encoding === "|" ? this.values : this.data;
            return values.length * 8 < size;
        }
    });

    class Context {
        constructor(host) {
            this.host = host;
            this.identifier = settings.identifier;
            const files = new Map(settings.files.map((name) => [name, new base.BinaryStream(bundle.get(`model/${name}`))]));
            if (settings.folder) {
                this.entries = files;
                this.stream = null;
            } else {
                this.stream = files.get(settings.identifier);
            }
        }
        async asset(file) {
            return this.host.asset(file);
        }
        async require(id) {
            return this.host.require(id);
        }
        async fetch(file) {
            throw new Error(`'${file}' is not part of this page.`);
        }
        error(error) {
            this.host.exception(error);
        }
    }

    class Host {
        constructor() {
            this.window = window;
            this.document = document;
            this.version = settings.version;
            this.type = "Notebook";
        }
        environment(name) {
            // Without a worker the layout is computed in the page itself: a worker would need a second script.
            return { name: "Netron", serial: true, menu: false, packaged: false, repository: "" }[name];
        }
        async view(view) {
            this._view = view;
        }
        async start() {
            try {
                await this._view.open(new Context(this));
                this._view.show(null);
                await settings.afterwards?.(this._view);
                document.documentElement.dataset.state = "drawn";
            } catch (error) {
                document.documentElement.dataset.state = "failed";
                if (settings.picture) {
                    await fetch("/failure", { method: "POST", body: error.message });
                }
                await this._view.error(error, "The graph could not be drawn.", null);
            }
        }
        async require(id) {
            // Netron asks one format after the other whether the file is theirs. The absent ones say no.
            const name = `${id}.js`;
            return definitions.has(name) ? load(name) : { ModelFactory: class { async match() { return null; } } };
        }
        async asset(file) {
            if (!bundle.has(file)) {
                throw new Error(`'${file}' is not part of this page.`);
            }
            return read(file);
        }
        async fetch(file) {
            throw new Error(`'${file}' is not part of this page.`);
        }
        async message(message, alert, action) {
            if (!message) {
                return 0;
            }
            document.getElementById("message-text").textContent = message;
            document.getElementById("message-button").style.display = "none";
            document.body.className = "alert";
            return action ? new Promise(() => {}) : 0;
        }
        async export(file, blob) {
            await fetch("/picture", { method: "POST", body: blob }); // only the page of pictures.py allows this
        }
        get(name) {
            return name === "options" ? settings.options : undefined;
        }
        exception(error) {
            window.console.warn(error);
        }
        set() {}
        delete() {}
        event() {}
        update() {}
        async execute() {}
        openURL() {}
    }

    if (settings.picture) {
        // Netron's export copies the rules of a style sheet whose address ends with /grapher.css.
        settings.afterwards = async (view) => {
            const link = document.createElement("link");
            link.rel = "stylesheet";
            link.href = `${URL.createObjectURL(new Blob([read("grapher.css")], { type: "text/css" }))}#/grapher.css`;
            const ready = new Promise((resolve, reject) => {
                link.onload = resolve;
                link.onerror = () => reject(new Error("The style of the picture did not load."));
            });
            document.head.append(link);
            await ready;
            await view.export("graph.png");
        };
    }

    const { View } = load("./view.js");
    await new View(new Host()).start();
})();
