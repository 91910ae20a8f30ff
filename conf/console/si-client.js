/*
 * The client of Si's HTTP interface for browsers and Node.js (20 or later). One module, no dependency.
 *
 *   import { SiClient } from './si-client.js';
 *   const si = new SiClient({ baseUrl: 'https://si.example', key: 'sk_si_…' });
 *   const chat = await si.conversations.create({ title: 'Trip' });
 *   for await (const e of si.turns.send(chat.id, 'What should I see?')) if (e.type === 'delta') show(e.text);
 *
 * Streams are read with fetch and a parser of our own, because EventSource cannot send an Authorization header: whoever wants
 * that, or a WebSocket, asks tickets.create() for a one-use ticket before each connection.
 * They reconnect by themselves, go on after the last event seen, and give each event once.
 */

const RETRY_MS = 1000;              // until the server says `retry:`
const RETRY_MAX_MS = 30_000;
const STEADY_MS = 10_000;           // a connection that lived so long was a good one: the back-off begins anew
const IDLE_MS = 45_000;             // three heartbeats of si_stream_heartbeat's default
const REQUEST_MS = 30_000;
const EVENT_MAX = 16 << 20;         // UTF-16 units of one event; a longer one is not from Si
const TURNS_KEPT = 256;             // whose last event a cursor remembers
const QUEUE_MAX = 1024;             // events nobody has taken yet: then no more is read
const SEND_RETRIES = 5;             // of a POST that was never accepted
const FINAL = new Set(['turn.completed', 'turn.failed', 'turn.cancelled']);

/* A refused or failed request. `code` is the problem's code, or network, timeout, protocol, aborted, turn_cancelled. */
export class SiError extends Error {
    constructor(code, message, { status = 0, field, retryAfter = 0, retryable = false, cause } = {}) {
        super(message, cause ? { cause } : undefined);
        this.name = 'SiError';
        this.code = code;
        this.status = status;           // HTTP status, 0: there was no answer
        this.field = field;
        this.retryAfter = retryAfter;   // milliseconds
        this.retryable = retryable;
    }
}

/*
 * Parses text/event-stream as the HTML standard says, fed with bytes at any split. onEvent gets
 * {event, data, lastEventId, id}: `id` is the id this event itself carried, or undefined. onId gets an id that came alone.
 */
export class SseParser {
    #decoder = new TextDecoder('utf-8', { ignoreBOM: true });
    #begun = false; #afterCr = false;
    #rest = '';                     // of a line without its end
    #data = []; #size = 0; #event = ''; #id; #ownId;
    #on;

    constructor({ onEvent, onRetry, onComment, onId, lastEventId = '' }) {
        this.#on = { onEvent, onRetry, onComment, onId };
        this.#id = lastEventId;
        this.lastEventId = lastEventId;
    }

    feed(bytes) {
        let s = this.#decoder.decode(bytes, { stream: true });
        if (s === '') return;
        let from = !this.#begun && s.charCodeAt(0) === 0xfeff ? 1 : 0;
        this.#begun = true;
        if (this.#afterCr && from < s.length) {
            this.#afterCr = false;
            if (s[from] === '\n') from++;
        }
        const end = /\r\n|\r|\n/g;
        end.lastIndex = from;
        for (let m; (m = end.exec(s)); from = end.lastIndex) {
            const line = this.#rest + s.slice(from, m.index);
            this.#rest = '';
            this.#line(line);
            if (m[0] === '\r' && end.lastIndex === s.length) this.#afterCr = true;
        }
        this.#rest += s.slice(from);
        if (this.#rest.length + this.#size > EVENT_MAX) throw new SiError('protocol', 'an event is too long');
    }

    #line(line) {
        if (line === '') return this.#dispatch();
        const colon = line.indexOf(':');
        if (colon === 0) return void this.#on.onComment?.(line.slice(1));
        const field = colon < 0 ? line : line.slice(0, colon);
        let value = colon < 0 ? '' : line.slice(colon + 1);
        if (value[0] === ' ') value = value.slice(1);
        switch (field) {
        case 'data':
            this.#size += value.length + 1;
            return void this.#data.push(value);
        case 'event':
            return void (this.#event = value);
        case 'id':
            return void (value.includes('\0') || (this.#id = this.#ownId = value));
        case 'retry':
            return void (/^[0-9]+$/.test(value) && this.#on.onRetry?.(parseInt(value, 10)));
        }
    }

    #dispatch() {
        this.lastEventId = this.#id;
        const data = this.#data, event = this.#event || 'message', id = this.#ownId;
        this.#data = [];
        this.#size = 0;
        this.#event = '';
        this.#ownId = undefined;
        if (data.length === 0) return void (id !== undefined && this.#on.onId?.(id));
        this.#on.onEvent({ event, data: data.join('\n'), lastEventId: this.lastEventId, id });
    }
}

/*
 * Where a reader stands. Ids are <turn number>.<event number> and grow within a turn; events of two turns may be
 * mixed, so it keeps the last number of each turn.
 */
class Cursor {
    #turns = new Map();             // turn number -> {event, over}
    #last;

    constructor(lastEventId = '') {
        this.#last = lastEventId;
        const m = /^(\d+)\.(\d+)$/.exec(lastEventId);
        if (m) this.#turns.set(Number(m[1]), { event: Number(m[2]), over: false });
    }

    /* False: this event was here before. */
    take(id, final) {
        const m = /^(\d+)\.(\d+)$/.exec(id);
        if (m) {
            const turn = Number(m[1]), event = Number(m[2]);
            const known = this.#turns.get(turn);
            if (known && event <= known.event) return false;
            this.#turns.set(turn, { event, over: final });
            if (this.#turns.size > TURNS_KEPT) this.#forget();
        }
        this.#last = id;
        return true;
    }

    #forget() {
        for (const [turn, { over }] of this.#turns) {
            if (over) return void this.#turns.delete(turn);
        }
        this.#turns.delete(this.#turns.keys().next().value);
    }

    /* The id to go on from: that of the oldest turn that is not over, so that nothing of it is passed over. */
    get id() {
        let oldest;
        for (const [turn, { event, over }] of this.#turns) {
            if (!over && (oldest === undefined || turn < oldest[0])) oldest = [turn, event];
        }
        return oldest ? `${oldest[0]}.${oldest[1]}` : this.#last;
    }
}

/* Where a reader of everything stands: those ids name all turns that are not over, and are the server's alone to read. */
class FeedCursor {
    constructor(lastEventId = '') { this.id = lastEventId; }

    take(id) {
        this.id = id;
        return true;
    }
}

const conversationPath = (id, rest = '') => `/v1/conversations/${encodeURIComponent(id)}${rest}`;
const turnPath = (id, rest = '') => `/v1/turns/${encodeURIComponent(id)}${rest}`;

/* What a turn's events add up to. apply() may be given the same event twice. */
export class TurnView {
    id = null; conversation = null; number = 0; state = 'queued';
    input = ''; text = ''; reasoning = '';
    model = null; agent = null; attempt = 0; clientTurnId = null; created = null;
    finish = null; usage = null; firstTokenMs = null; durationMs = null; error = null;
    #seen = 0;

    get over() {
        return this.state === 'completed' || this.state === 'failed' || this.state === 'cancelled';
    }

    /* False: nothing new. */
    apply(e) {
        const n = Number(/\.(\d+)$/.exec(e.id ?? '')?.[1] ?? 0);
        if (n) {
            if (n <= this.#seen) return false;
            this.#seen = n;
        }
        this.id ??= e.turn;
        switch (e.type) {
        case 'turn.accepted':
            Object.assign(this, { conversation: e.conversation, number: e.number, input: e.input,
                                  clientTurnId: e.client_turn_id, created: e.created });
            break;
        case 'turn.started':
            Object.assign(this, { state: 'running', agent: e.agent, model: e.model, attempt: e.attempt });
            break;
        case 'delta':
            this.state = 'running';
            this.text += e.text;
            break;
        case 'reasoning':
            this.reasoning += e.text;
            break;
        case 'turn.restarted':
            Object.assign(this, { text: '', reasoning: '', attempt: e.attempt });
            break;
        case 'turn.completed': case 'turn.cancelled':
            Object.assign(this, { state: e.type.slice(5), text: e.message?.content ?? '', model: e.model, agent: e.agent,
                                  finish: e.finish, usage: e.usage, firstTokenMs: e.first_token_ms,
                                  durationMs: e.duration_ms });
            break;
        case 'turn.failed':
            this.state = 'failed';
            this.error = { code: e.code, detail: e.detail, retryable: e.retryable };
            break;
        }
        return true;
    }

    /* From GET /v1/turns/{id}. */
    adopt(t) {
        Object.assign(this, { id: t.id, conversation: t.conversation, number: t.number, state: t.state, input: t.input,
                              text: t.output ?? '', model: t.model, agent: t.agent, attempt: t.attempt,
                              clientTurnId: t.client_turn_id, created: t.created, finish: t.finish, usage: t.usage,
                              firstTokenMs: t.first_token_ms, durationMs: t.duration_ms, error: t.error });
        return this;
    }
}

const noop = () => {};
const aborted = (signal) => signal.reason instanceof SiError ? signal.reason
    : new SiError('aborted', 'aborted by the caller', { cause: signal.reason });

/* crypto.randomUUID exists on secure origins only. */
const randomId = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (x) => x.toString(16).padStart(2, '0')).join('');

/* A controller that follows `signal` too; unlink() when it is no longer needed. */
function linked(signal) {
    const controller = new AbortController();
    const abort = () => controller.abort(signal.reason);
    if (signal?.aborted) abort();
    else signal?.addEventListener('abort', abort, { once: true });
    return { controller, unlink: () => signal?.removeEventListener('abort', abort) };
}

/* Waits, at most `ms`; wake.now() ends it early. */
function pause(ms, signal, wake) {
    return new Promise((resolve) => {
        const end = () => {
            clearTimeout(timer);
            signal?.removeEventListener('abort', end);
            wake.now = noop;
            resolve();
        };
        const timer = setTimeout(end, ms);
        signal?.addEventListener('abort', end, { once: true });
        if (signal?.aborted) end();
        else wake.now = end;
    });
}

async function problem(response) {
    let p = {};
    try {
        p = JSON.parse(await response.text());
    } catch { /* not from Si: a proxy's page, or none */ }
    const seconds = Number(response.headers.get('retry-after'));
    return new SiError(typeof p?.code === 'string' ? p.code : `http_${response.status}`,
        p?.detail || p?.title || `HTTP ${response.status}`, {
            status: response.status, field: p?.field,
            retryAfter: seconds > 0 ? seconds * 1000 : 0,
            retryable: [408, 425, 429, 500, 502, 503, 504].includes(response.status),
        });
}

/* One connection of a stream: calls onEvent until the body ends. False: 204, there is nothing (more). */
async function connect(client, request, { signal, lastEventId, room, onOpen, onEvent, onRetry, onId }) {
    const { controller, unlink } = linked(signal);
    let heard = Date.now();
    const watch = setInterval(() => {
        if (Date.now() - heard > client.idleTimeout) {
            controller.abort(new SiError('timeout', 'the stream has gone silent', { retryable: true }));
        }
    }, Math.max(20, client.idleTimeout / 8));
    try {
        const headers = { Accept: 'text/event-stream' };
        if (lastEventId) headers['Last-Event-ID'] = lastEventId;
        const response = await client._fetch(request, headers, controller.signal);
        if (response.status === 204) return false;
        if (!response.ok) throw await problem(response);
        const type = (response.headers.get('content-type') ?? '').split(';')[0].trim().toLowerCase();
        if (type !== 'text/event-stream') throw new SiError('protocol', `expected an event stream, got ${type || 'no type'}`);
        const parser = new SseParser({ onEvent, onRetry, onId, lastEventId });
        const reader = response.body.getReader();
        onOpen();
        for (;;) {
            const { done, value } = await reader.read();
            if (done) return true;
            heard = Infinity;
            parser.feed(value);
            await room();
            heard = Date.now();
        }
    } catch (e) {
        if (signal?.aborted) throw aborted(signal);
        if (controller.signal.aborted) throw controller.signal.reason;
        throw e instanceof SiError ? e : new SiError('network', 'the connection broke', { retryable: true, cause: e });
    } finally {
        clearInterval(watch);
        unlink();
        controller.abort();         // whatever is left of the body
    }
}

function typed({ event, data, id }) {
    let e;
    try {
        e = JSON.parse(data);
    } catch (cause) {
        throw new SiError('protocol', `event ${event} is not JSON`, { cause });
    }
    return { ...e, type: e.type ?? event, id: e.id ?? id ?? null };
}

/*
 * A stream that outlives its connections. plan.request() is asked before each; plan.event(e) gets each new event
 * once and returns true after the last one; plan.state(s, error) hears connecting, open, waiting; plan.room()
 * waits until more may be read.
 */
async function follow(client, plan, { cursor, signal, wake }) {
    let retry = RETRY_MS, failures = 0;
    for (let over = false; !over;) {
        const began = Date.now();
        let error = null;
        plan.state('connecting');
        try {
            const more = await connect(client, await plan.request(), {
                signal, lastEventId: cursor.id, room: plan.room,
                onOpen: () => plan.state('open'),
                onRetry: (ms) => { retry = Math.min(ms, RETRY_MAX_MS); },
                onId: (id) => { if (cursor instanceof FeedCursor) cursor.take(id); },
                onEvent: (raw) => {
                    failures = 0;
                    if (over) return;
                    const e = typed(raw);
                    if (raw.id === undefined || cursor.take(raw.id, FINAL.has(e.type))) over = plan.event(e);
                },
            });
            if (!more) return;
        } catch (e) {
            if (signal.aborted) throw e;
            error = e;
        }
        if (over) return;
        if (Date.now() - began > STEADY_MS) failures = 0;
        if (error && (!error.retryable || failures >= plan.retries())) throw error;
        const wait = Math.min(RETRY_MAX_MS, retry * 2 ** Math.min(failures++, 10)) * (1 + Math.random() / 2);
        plan.state('waiting', error);
        await pause(Math.max(wait, error?.retryAfter ?? 0), signal, wake);
        if (signal.aborted) throw aborted(signal);
    }
}

/* The base of both streams: the events that came, and who waits for more. `keep`: for every reader from the first. */
class Stream {
    state = 'connecting';           // connecting, open, waiting (to reconnect), closed
    #queue = []; #ended = false; #error = null;
    #waiters = []; #wake = { now: noop };
    #keep; #link; #cursor; #onState;

    constructor({ signal, cursor, keep, onState = noop }) {
        this.#link = linked(signal);
        this.#cursor = cursor;
        this.#keep = keep;
        this.#onState = onState;
        this.#link.controller.signal.addEventListener('abort', () => this.#notify());
    }

    /* Give it to a later call to go on from here. */
    get lastEventId() { return this.#cursor.id; }
    /* Reconnects now, if it is waiting to. */
    reconnect() { this.#wake.now(); }
    /* Stops reading. Cancels nothing. */
    close() { this.#link.controller.abort(new SiError('aborted', 'closed')); }

    #set(state, error = null) {
        this.state = state;
        this.#onState(state, error);
    }

    async _run(client, plan) {
        plan.state = (state, error) => this.#set(state, error);
        plan.room = async () => {
            while (!this.#keep && this.#queue.length > QUEUE_MAX && !this.#link.controller.signal.aborted) await this.#change();
        };
        try {
            await null;             // the caller has the stream in hand before onState is called
            await follow(client, plan, { cursor: this.#cursor, signal: this.#link.controller.signal, wake: this.#wake });
        } catch (e) {
            this.#error = e;
            throw e;
        } finally {
            this.#link.unlink();
            this.#ended = true;
            this.#set('closed', this.#error);
            this.#notify();
        }
    }

    _push(e) {
        this.#queue.push(e);
        this.#notify();
    }

    #change() { return new Promise((resolve) => this.#waiters.push(resolve)); }

    #notify() {
        for (const wake of this.#waiters.splice(0)) wake();
    }

    async *[Symbol.asyncIterator]() {
        try {
            for (let at = 0;;) {
                if (at < this.#queue.length) {
                    yield this.#keep ? this.#queue[at++] : this.#queue.shift();
                    if (!this.#keep) this.#notify();
                } else if (!this.#ended) {
                    await this.#change();
                } else {
                    if (this.#error && this.#error.code !== 'aborted') throw this.#error;
                    return;
                }
            }
        } finally {
            if (!this.#keep) this.close();
        }
    }
}

/* Every event of a conversation, for one `for await`. Ends by close(), by leaving the loop, or with a fatal error. */
export class EventStream extends Stream {
    constructor(client, conversation, { lastEventId, from, signal, onState } = {}) {
        super({ signal, cursor: new Cursor(lastEventId), keep: false, onState });
        const path = conversationPath(conversation, '/events');
        let after = -1;             // the last turn before this stream, when it begins now
        let again = false;          // connected before, and nothing came
        this._run(client, {
            /* "Now" is the moment of the first connection: what happens before the second one must not be lost. */
            request: async () => {
                if (this.lastEventId || from === 'start') return { method: 'GET', path, query: this.lastEventId ? {} : { from } };
                again = after >= 0;
                if (!again) after = (await client.conversations.get(conversation, { signal })).last_turn;
                return { method: 'GET', path, query: { from: again ? 'start' : from } };
            },
            event: (e) => {
                if (!(again && parseInt(e.id, 10) <= after)) this._push(e);
            },
            retries: () => Infinity,
        }).catch(noop);
    }
}

/*
 * Every event of all conversations of this user, on one connection. `conversation` and `id` of an event are those of its own
 * stream; lastEventId belongs to this one.
 */
export class FeedStream extends Stream {
    constructor(client, { lastEventId, from, signal, onState } = {}) {
        super({ signal, cursor: new FeedCursor(lastEventId), keep: false, onState });
        this._run(client, {
            request: () => ({ method: 'GET', path: '/v1/events', query: this.lastEventId ? {} : { from } }),
            event: (e) => this._push(e),
            retries: () => Infinity,
        }).catch(noop);
    }
}

/*
 * One turn. Any number of `for await` loops read it from its first event; leaving one stops nothing. `turn` is what
 * the events so far add up to. `text` is the whole answer (of a cancelled turn what was said until then); it rejects
 * when the turn failed. `done` is the finished TurnView, also of a failed turn.
 */
export class TurnStream extends Stream {
    turn = new TurnView();

    constructor(client, { request, turnId, lastEventId, signal, onState }) {
        super({ signal, cursor: new Cursor(lastEventId), keep: true, onState });
        this._client = client;
        let accept;
        this.accepted = new Promise((resolve, reject) => { accept = { resolve, reject }; });
        if (turnId) {
            this.turn.id = turnId;
            accept.resolve(turnId);
        }
        this.done = this._run(client, {
            /* Once accepted the turn has a name; before, the POST is repeated and finds its own turn again. */
            request: () => this.turn.id ? { method: 'GET', path: turnPath(this.turn.id, '/events') } : request,
            event: (e) => {
                this.turn.apply(e);
                accept.resolve(this.turn.id);
                this._push(e);
                return FINAL.has(e.type);
            },
            retries: () => this.turn.id ? Infinity : SEND_RETRIES,
        }).then(async () => {
            if (!this.turn.over) this.turn.adopt(await client.turns.get(this.turn.id));
            return this.turn;
        });
        this.done.catch((e) => accept.reject(e));
        this.text = this.done.then((turn) => {
            if (turn.state !== 'failed') return turn.text;
            const { code, detail, retryable } = turn.error ?? { code: 'internal', detail: 'the turn failed' };
            throw new SiError(code, detail, { retryable });
        });
        this.accepted.catch(noop);
        this.text.catch(noop);
    }

    /* Cancels the turn itself, for everybody. Resolves to the turn object. */
    async cancel() {
        return this._client.turns.cancel(await this.accepted);
    }
}

class Group {
    constructor(client) { this._client = client; }
}

class Conversations extends Group {
    create({ title, idempotencyKey = randomId(), signal } = {}) {
        return this._client._json({ method: 'POST', path: '/v1/conversations', body: title === undefined ? {} : { title },
                                    headers: { 'Idempotency-Key': idempotencyKey } }, signal);
    }

    list({ limit, cursor, signal } = {}) {
        return this._client._json({ method: 'GET', path: '/v1/conversations', query: { limit, cursor } }, signal);
    }

    get(id, { signal } = {}) {
        return this._client._json({ method: 'GET', path: conversationPath(id) }, signal);
    }

    events(id, options) {
        return new EventStream(this._client, id, options);
    }

    readers(id, { signal } = {}) {
        return this._client._json({ method: 'GET', path: conversationPath(id, '/readers') }, signal);
    }
}

class Turns extends Group {
    #request(conversation, input, headers) {
        const { input: text, model, agent, clientTurnId = randomId() } = typeof input === 'string' ? { input } : input;
        return { method: 'POST', path: conversationPath(conversation, '/turns'), headers,
                 body: { input: text, model, agent, client_turn_id: clientTurnId } };
    }

    /* Sends a message and follows its turn. Safe to break at any point: it is repeated under the same client_turn_id. */
    send(conversation, input, { signal, onState } = {}) {
        return new TurnStream(this._client, { request: this.#request(conversation, input), signal, onState });
    }

    /* Sends a message and does not wait: the turn object as it was accepted. */
    start(conversation, input, { signal } = {}) {
        return this._client._json(this.#request(conversation, input, { Prefer: 'respond-async' }), signal);
    }

    get(id, { signal } = {}) {
        return this._client._json({ method: 'GET', path: turnPath(id) }, signal);
    }

    follow(id, { lastEventId, signal, onState } = {}) {
        return new TurnStream(this._client, { turnId: id, lastEventId, signal, onState });
    }

    cancel(id, { signal } = {}) {
        return this._client._json({ method: 'POST', path: turnPath(id, '/cancel') }, signal);
    }
}

class Messages extends Group {
    list(conversation, { limit, cursor, signal } = {}) {
        return this._client._json({ method: 'GET', path: conversationPath(conversation, '/messages'),
                                    query: { limit, cursor } }, signal);
    }
}

class Tickets extends Group {
    /* For one connection to this path, as `?ticket=`: that of an event stream, or /v1/socket. */
    create(path, { signal } = {}) {
        return this._client._json({ method: 'POST', path: '/v1/tickets', body: { path } }, signal);
    }
}

export class SiClient {
    /* key: a string, or a function that gives one (or a promise of one) before each request. */
    constructor({ baseUrl, key, fetch = globalThis.fetch.bind(globalThis), requestTimeout = REQUEST_MS, idleTimeout = IDLE_MS }) {
        this.baseUrl = String(baseUrl).replace(/\/+$/, '');
        this.key = key;
        this.requestTimeout = requestTimeout;
        this.idleTimeout = idleTimeout;
        this._fetcher = fetch;
        this.conversations = new Conversations(this);
        this.turns = new Turns(this);
        this.messages = new Messages(this);
        this.tickets = new Tickets(this);
    }

    /* Everything that happens in the caller's conversations. */
    events(options) {
        return new FeedStream(this, options);
    }

    async _fetch({ method, path, query = {}, body, headers }, more, signal) {
        const args = new URLSearchParams(Object.entries(query).filter(([, v]) => v !== undefined && v !== null)).toString();
        const key = typeof this.key === 'function' ? await this.key() : this.key;
        return this._fetcher(this.baseUrl + path + (args && `?${args}`), {
            method, signal, cache: 'no-store',
            headers: { ...(key ? { Authorization: `Bearer ${key}` } : {}),
                       ...(body ? { 'Content-Type': 'application/json' } : {}), ...headers, ...more },
            body: body ? JSON.stringify(body) : undefined,
        });
    }

    async _json(request, signal) {
        const { controller, unlink } = linked(signal);
        const timer = setTimeout(() => controller.abort(new SiError('timeout', 'no answer in time', { retryable: true })),
            this.requestTimeout);
        try {
            const response = await this._fetch(request, { Accept: 'application/json' }, controller.signal);
            if (!response.ok) throw await problem(response);
            return await response.json();
        } catch (e) {
            if (signal?.aborted) throw aborted(signal);
            if (controller.signal.aborted) throw controller.signal.reason;
            throw e instanceof SiError ? e : new SiError('network', 'Si cannot be reached', { retryable: true, cause: e });
        } finally {
            clearTimeout(timer);
            unlink();
        }
    }
}
