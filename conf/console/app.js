/*
 * The console: conversations on the left, one of them in the middle. One event stream per page feeds everything that
 * is shown, so two pages on one conversation see the same, and a page that comes late sees what it missed.
 */
import { SiClient, SiError } from './si-client.js';
import { Turns } from './turns.js';

const $ = (id) => document.getElementById(id);
const KEY = 'si.key';               // in localStorage
const TITLE_MAX = 60;               // characters of the first message that become the title
const WATCH_MS = 20_000;            // between two looks at how many watch, while the page is visible
const WATCH_FIRST_MS = 2000;        // the server counts a new reader within about a second

const si = new SiClient({ baseUrl: location.origin, key: () => localStorage.getItem(KEY) ?? '' });
let current = null;                 // id of the conversation that is open
let stream = null;
let watch = null;                   // timer of the next look
let conversations = [], next = null;

const randomId = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, '0')).join('');
const el = (name, className, text) => Object.assign(document.createElement(name), { className, textContent: text ?? '' });

/* ---- what is read aloud, and what goes wrong ---- */

function say(text) {
    $('say').textContent = text;
}

function trouble(error) {
    if (error?.code === 'aborted') return;
    if (error?.status === 401) return void askKey('This key is not valid (any more).');
    $('trouble').textContent = !error ? ''
        : error.code === 'not_found' ? 'There is no such conversation.' : `${error.message} (${error.code ?? 'error'})`;
    $('trouble').hidden = !error;
}

/* ---- the key ---- */

/* #key=sk_si_… in the address is taken over and removed, so that it stays in no history and no bookmark. */
function takeKey() {
    const args = new URLSearchParams(location.hash.slice(1));
    const key = args.get('key');
    if (!key) return;
    localStorage.setItem(KEY, key);
    args.delete('key');
    const rest = args.toString();
    history.replaceState(null, '', location.pathname + location.search + (rest && `#${rest}`));
}

function askKey(why = '') {
    const has = Boolean(localStorage.getItem(KEY));
    $('key-error').textContent = why;
    $('key-cancel').hidden = !has || why !== '';
    $('key-title').textContent = has ? 'Your API key' : 'Welcome to Si';
    if (!$('key-dialog').open) {
        $('key-input').value = '';
        $('key-dialog').showModal();
    }
    $('key-input').focus();
}

async function keyGiven(event) {
    event.preventDefault();
    const key = $('key-input').value.trim();
    if (!key) return;
    $('key-ok').disabled = true;
    $('key-error').textContent = '';
    try {
        await new SiClient({ baseUrl: location.origin, key }).conversations.list({ limit: 1 });
        localStorage.setItem(KEY, key);
        $('key-dialog').close();
        begin();
    } catch (e) {
        $('key-error').textContent = e.status === 401 ? 'Si does not know this key.' : e.message;
        $('key-input').select();
    } finally {
        $('key-ok').disabled = false;
    }
}

/* ---- the list ---- */

function dayOf(iso) {
    const then = new Date(iso), today = new Date();
    today.setHours(0, 0, 0, 0);
    const days = Math.ceil((today - then) / 86_400_000);
    if (!(days > 0)) return 'Today';
    if (days === 1) return 'Yesterday';
    return days <= 7 ? 'This week' : then.toLocaleDateString(undefined, { month: 'long', year: 'numeric' });
}

function listItem(c) {
    const item = el('li'), a = el('a', 'chat', c.title || 'Untitled');
    a.href = `#c=${c.id}`;
    a.title = c.title || 'Untitled';
    if (c.id === current) a.setAttribute('aria-current', 'page');
    item.append(a);
    return item;
}

function showList() {
    const groups = new Map();
    for (const c of conversations) {
        const day = dayOf(c.updated);
        if (!groups.has(day)) groups.set(day, []);
        groups.get(day).push(c);
    }
    const focused = document.activeElement?.closest?.('#list a')?.hash;
    const nodes = [];
    for (const [day, group] of groups) {
        const ul = el('ul');
        ul.append(...group.map(listItem));
        nodes.push(el('h2', '', day), ul);
    }
    if (next) {
        const more = el('button', 'quiet more', 'Show more');
        more.type = 'button';
        more.addEventListener('click', () => loadList(next));
        nodes.push(more);
    }
    if (!nodes.length) nodes.push(el('p', 'none', 'Your conversations will be here.'));
    $('list').replaceChildren(...nodes);
    if (focused) $('list').querySelector(`a[href="${CSS.escape(focused).replace(/\\/g, '')}"]`)?.focus();
    const open = conversations.find((c) => c.id === current);
    $('title').textContent = open ? open.title || 'Untitled' : current ? 'Conversation' : 'New chat';
    document.title = open?.title ? `${open.title} · Si` : 'Si';
}

async function loadList(cursor) {
    try {
        const page = await si.conversations.list({ cursor });
        const known = new Set(page.data.map((c) => c.id));
        conversations = cursor ? [...conversations.filter((c) => !known.has(c.id)), ...page.data] : page.data;
        next = page.next;
        if (current && !conversations.some((c) => c.id === current)) await addOpen();
        showList();
    } catch (e) {
        trouble(e);
    }
}

/* The open conversation belongs into the list, even when it is on a later page. */
async function addOpen() {
    try {
        conversations.push(await si.conversations.get(current));
    } catch (e) {
        if (!(e instanceof SiError) || e.status !== 404) throw e;
    }
}

function bump(id) {
    const i = conversations.findIndex((c) => c.id === id);
    if (i < 0) return;
    const [c] = conversations.splice(i, 1);
    c.updated = new Date().toISOString();
    conversations.unshift(c);
    showList();
}

/* ---- the open conversation ---- */

const turns = new Turns({
    list: $('turns'), scroll: $('scroll'), latest: $('latest'),
    onAgain: (card) => card.unsent ? start(card) : send(card.view.input),
    onChange: changed,
});

function changed() {
    const active = turns.active;
    $('stop').hidden = !active;
    $('stop').disabled = Boolean(active?.stopping);
    $('empty').hidden = current !== null || turns.size > 0;
    $('main').dataset.fresh = String(turns.size === 0 && current === null);
}

function live(state, error) {
    const words = { connecting: 'Connecting', open: 'Live', waiting: 'Reconnecting', closed: 'Not connected' };
    $('live').hidden = state === null;
    if (state === null || $('live').dataset.state === state) return;
    /* "Connecting" after "Reconnecting" would only flicker. */
    if (state === 'connecting' && $('live').dataset.state === 'waiting') return;
    $('live').dataset.state = state;
    $('live-text').textContent = words[state];
    $('live').title = error ? error.message : state === 'open' ? 'New events arrive as they happen' : '';
}

/* How many follow the open conversation; of no interest while this page is the only one. Nobody polls behind a hidden page. */
async function watching() {
    const mine = stream;
    clearTimeout(watch);
    watch = null;
    if (!mine || document.visibilityState !== 'visible') return;
    let n = 0;
    try {
        n = (await si.conversations.readers(current)).readers;
    } catch { /* not worth a word: the next look may know */ }
    if (stream !== mine) return;
    $('watching').hidden = n < 2;
    $('watching').textContent = n < 2 ? '' : `${n} watching`;
    watchIn(WATCH_MS);
}

function watchIn(ms) {
    clearTimeout(watch);
    watch = setTimeout(watching, ms);
}

function open(id) {
    stream?.close();
    stream = null;
    clearTimeout(watch);
    $('watching').hidden = true;
    current = id;
    turns.clear();
    trouble(null);
    drawer(false);
    changed();
    showList();
    live(null);
    delete $('live').dataset.state;
    if (id) follow(id);
    if (matchMedia('(hover: hover)').matches) $('input').focus();
}

async function follow(id) {
    const mine = si.conversations.events(id, { from: 'start', onState: (s, e) => { if (stream === mine) live(s, e); } });
    stream = mine;
    live(mine.state);
    watchIn(WATCH_FIRST_MS);
    try {
        for await (const e of mine) {
            if (stream !== mine) return;
            if (e.turn) heard(e);
        }
    } catch (e) {
        if (stream === mine) trouble(e);
    }
}

function heard(e) {
    const card = turns.apply(e);
    const fresh = card.sending;     // begun on this page, not replayed
    if (e.type === 'turn.accepted' && fresh) bump(current);
    if (!fresh) return;
    if (e.type === 'turn.started') say('Si is answering');
    if (e.type === 'turn.completed') say(`Answer: ${card.view.text.slice(0, 2000)}`);
    if (e.type === 'turn.failed') say(`The turn failed: ${e.detail}`);
    if (e.type === 'turn.cancelled') say('The answer was stopped');
}

/* ---- sending and stopping ---- */

const titleOf = (text) => {
    const line = [...text.trim().split('\n')[0].trim()];
    return line.length > TITLE_MAX ? `${line.slice(0, TITLE_MAX - 1).join('').trimEnd()}…` : line.join('');
};

/* A conversation begins with its first message. */
async function create(card) {
    const c = await si.conversations.create({ title: titleOf(card.view.input), idempotencyKey: card.view.clientTurnId });
    conversations = [c, ...conversations.filter((x) => x.id !== c.id)];
    if (card.node.isConnected) {    // else another conversation was opened meanwhile
        current = c.id;
        history.pushState(null, '', `#c=${c.id}`);
        follow(c.id);
    }
    showList();
    return c.id;
}

async function send(text) {
    const card = turns.add(text, randomId());
    $('empty').hidden = true;
    await start(card);
}

/* Also a second time for the same card: the client_turn_id makes it the same turn. */
async function start(card) {
    card.unsent = null;
    card.sending = true;
    turns.touch(card);
    try {
        const id = current ?? await create(card);
        const turn = await si.turns.start(id, { input: card.view.input, clientTurnId: card.view.clientTurnId });
        if (card.node.isConnected) turns.named(card, turn);
    } catch (e) {
        if (card.view.id) return;   // its turn.accepted came by the stream
        card.unsent = e;
        turns.touch(card);
        if (e.status === 401) trouble(e);
    }
}

async function stop() {
    const card = turns.active;
    if (!card || card.stopping) return;
    card.stopping = true;
    changed();
    try {
        await si.turns.cancel(card.view.id);
    } catch (e) {
        trouble(e);
    } finally {
        card.stopping = false;
        changed();
    }
}

/* ---- the page ---- */

function grow() {
    const input = $('input');
    input.style.height = 'auto';
    input.style.height = `${Math.min(input.scrollHeight, 220)}px`;
    $('send').disabled = input.value.trim() === '';
}

function submit() {
    const text = $('input').value.trim();
    if (!text) return;
    $('input').value = '';
    grow();
    trouble(null);
    send(text);
}

function drawer(show) {
    document.body.classList.toggle('drawer', show);
    $('shade').hidden = !show;
    $('menu').setAttribute('aria-expanded', String(show));
    const phone = matchMedia('(max-width: 760px)').matches;
    $('side').inert = phone && !show;
    $('main').inert = phone && show;
    if (phone && show) $('side-close').focus();
}

const routed = () => new URLSearchParams(location.hash.slice(1)).get('c');

function route() {
    takeKey();
    if (routed() !== current) open(routed());
}

function begin() {
    open(routed());
    loadList();
}

$('composer').addEventListener('submit', (e) => {
    e.preventDefault();
    submit();
});
$('input').addEventListener('input', grow);
$('input').addEventListener('keydown', (e) => {
    if (e.key !== 'Enter' || e.shiftKey || e.isComposing || !matchMedia('(hover: hover)').matches) return;
    e.preventDefault();
    submit();
});
$('stop').addEventListener('click', stop);
$('new').addEventListener('click', () => {
    history.pushState(null, '', location.pathname + location.search);
    open(null);
});
$('ideas').addEventListener('click', (e) => {
    if (e.target.matches('button')) send(e.target.textContent);
});
$('live').addEventListener('click', () => {
    if (stream?.state === 'closed' && current) open(current);
    else stream?.reconnect();
});
$('menu').addEventListener('click', () => drawer(true));
$('side-close').addEventListener('click', () => {
    drawer(false);
    $('menu').focus();
});
$('shade').addEventListener('click', () => drawer(false));
$('skip').addEventListener('click', (e) => {
    e.preventDefault();
    $('input').focus();
});
$('change-key').addEventListener('click', () => {
    drawer(false);
    askKey();
});
$('key-form').addEventListener('submit', keyGiven);
$('key-cancel').addEventListener('click', () => $('key-dialog').close());
$('key-dialog').addEventListener('cancel', (e) => { if ($('key-cancel').hidden) e.preventDefault(); });
document.addEventListener('keydown', (e) => {
    if (e.key === 'Escape' && document.body.classList.contains('drawer')) drawer(false);
});
document.addEventListener('visibilitychange', () => {
    if (document.visibilityState !== 'visible' || !localStorage.getItem(KEY)) return;
    stream?.reconnect();
    if (!watch) watchIn(WATCH_FIRST_MS);
    loadList();
});
addEventListener('online', () => stream?.reconnect());
addEventListener('hashchange', route);
addEventListener('popstate', route);
matchMedia('(max-width: 760px)').addEventListener('change', () => drawer(false));

drawer(false);
takeKey();
if (localStorage.getItem(KEY)) begin();
else {
    changed();
    showList();
    askKey();
}
