/* The turns of one conversation as they stand on the page. */
import { TurnView } from './si-client.js';
import { show } from './text.js';

const template = document.getElementById('turn-template');
const NEAR = 90;                    // pixels from the bottom that still count as "at the bottom"
const WORDS = {
    sending: 'sending', unsent: 'not sent', queued: 'queued', thinking: 'thinking', answering: 'answering',
    completed: 'completed', failed: 'failed', cancelled: 'stopped',
};

export const duration = (ms) => ms < 1000 ? `${Math.round(ms)} ms`
    : ms < 60_000 ? `${(ms / 1000).toFixed(1)} s` : `${Math.floor(ms / 60_000)} min ${Math.round(ms % 60_000 / 1000)} s`;

/* One turn: the message, the answer, and a line about both. */
class Card {
    view = new TurnView();
    unsent = null;                  // an error: the message has not reached the server
    sending = false;

    constructor(onAgain) {
        this.node = template.content.firstElementChild.cloneNode(true);
        for (const name of ['said', 'thoughts', 'thought', 'wait', 'text', 'fault', 'word', 'model', 'tokens', 'first',
            'took', 'tries', 'copy', 'again']) {
            this[name] = this.node.querySelector(`.${name}`);
        }
        this.again.addEventListener('click', () => onAgain(this));
        this.copy.hidden = true;
        this.copy.addEventListener('click', async () => {
            await navigator.clipboard.writeText(this.view.text);
            this.copy.textContent = 'Copied';
            setTimeout(() => { this.copy.textContent = 'Copy'; }, 1500);
        });
    }

    get state() {
        if (this.unsent) return 'unsent';
        if (this.sending && !this.view.id) return 'sending';
        if (this.view.state === 'running') return this.view.text ? 'answering' : 'thinking';
        return this.view.state;
    }

    render() {
        const { view: v, state } = this;
        this.node.dataset.state = state;
        this.node.dataset.turn = v.id ?? '';
        if (this.said.textContent !== v.input) this.said.textContent = v.input;
        this.thoughts.hidden = v.reasoning === '';
        this.thought.textContent = v.reasoning;
        this.wait.hidden = !['sending', 'queued', 'thinking'].includes(state);
        show(this.text, v.text);
        this.#fault(state);
        this.#meta(state);
    }

    #fault(state) {
        const e = this.unsent ?? errorOf(this.view);
        this.fault.hidden = !e;
        if (!e) return;
        this.fault.firstElementChild.textContent = state === 'unsent' ? `Not sent: ${e.message}` : `${e.detail || 'The turn failed'} (${e.code})`;
        this.again.textContent = state === 'unsent' ? 'Send again' : 'Ask again';
    }

    #meta(state) {
        const v = this.view, put = (name, text, title) => {
            this[name].textContent = text;
            this[name].title = title ?? '';
            this[name].hidden = text === '';
        };
        this.word.textContent = WORDS[state];
        put('model', v.model || '', v.agent ? `agent ${v.agent}` : '');
        const { input_tokens: read, output_tokens: written, estimated } = v.usage ?? {};
        const known = v.over && typeof written === 'number';
        put('tokens', known ? `${estimated ? '≈ ' : ''}${read === null ? '' : `${read} + `}${written} tokens` : '',
            known ? `${read ?? 'unknown'} read, ${written} written${estimated ? ', estimated' : ''}` : '');
        put('first', typeof v.firstTokenMs === 'number' ? `first token ${duration(v.firstTokenMs)}` : '');
        put('took', typeof v.durationMs === 'number' ? duration(v.durationMs) : '', 'the whole turn');
        put('tries', v.attempt > 0 ? `restarted${v.attempt > 1 ? ` ${v.attempt} times` : ''}` : '', 'a worker died; the answer was begun anew');
        this.copy.hidden = !(v.over && v.text && navigator.clipboard);
    }
}

const errorOf = (view) => view.state === 'failed' ? view.error ?? { code: 'internal', detail: '' } : null;

/* All of them, with the scrolling. onAgain(card) when a button asks to send a message again; onChange() after each render. */
export class Turns {
    #list; #scroll; #latest; #onAgain; #onChange;
    #cards = new Set();
    #byId = new Map();
    #byClientId = new Map();
    #dirty = new Set();
    #frame = 0;
    #follow = true;                 // stay at the bottom

    constructor({ list, scroll, latest, onAgain, onChange }) {
        this.#list = list;
        this.#scroll = scroll;
        this.#latest = latest;
        this.#onAgain = onAgain;
        this.#onChange = onChange;
        scroll.addEventListener('scroll', () => this.#scrolled(), { passive: true });
        new ResizeObserver(() => { if (this.#follow) this.toBottom(); }).observe(scroll);
        latest.addEventListener('click', () => this.toBottom());
    }

    clear() {
        this.#cards.clear();
        this.#byId.clear();
        this.#byClientId.clear();
        this.#dirty.clear();
        this.#list.replaceChildren();
        this.#follow = true;
        this.#latest.hidden = true;
    }

    get size() { return this.#list.childElementCount; }

    /* The turn that runs, or else the one that waits: what Stop means. */
    get active() {
        let queued = null;
        for (const card of this.#byId.values()) {
            if (card.view.state === 'running') return card;
            if (card.view.state === 'queued') queued ??= card;
        }
        return queued;
    }

    /* A message that is on its way. */
    add(input, clientTurnId) {
        const card = this.#card();
        Object.assign(card.view, { input, clientTurnId });
        card.sending = true;
        this.#byClientId.set(clientTurnId, card);
        this.#follow = true;
        this.touch(card);
        return card;
    }

    /* The server has accepted it as this turn. */
    named(card, turn) {
        if (this.#byId.get(turn.id) === card) return;
        this.#byId.set(turn.id, card);
        card.view.adopt({ ...turn, state: 'queued', output: '' });
        this.#place(card);
        this.touch(card);
    }

    /* Turns stand by their numbers, then what has none yet: another page may have sent one in between. */
    #place(card) {
        const later = [...this.#cards].filter((c) => c !== card && (c.view.number || Infinity) > card.view.number)
            .sort((a, b) => (a.view.number || Infinity) - (b.view.number || Infinity))[0];
        if (later && card.node.nextSibling !== later.node) this.#list.insertBefore(card.node, later.node);
    }

    apply(e) {
        let card = this.#byId.get(e.turn);
        if (!card) {
            card = this.#byClientId.get(e.client_turn_id) ?? this.#card();
            this.#byId.set(e.turn, card);
        }
        card.unsent = null;
        if (card.view.apply(e)) this.touch(card);
        if (e.type === 'turn.accepted') this.#place(card);
        return card;
    }

    touch(card) {
        this.#dirty.add(card);
        this.#frame ||= requestAnimationFrame(() => this.#render());
    }

    toBottom() {
        this.#follow = true;
        this.#scroll.scrollTop = this.#scroll.scrollHeight;
        this.#latest.hidden = true;
    }

    #card() {
        const card = new Card(this.#onAgain);
        this.#cards.add(card);
        this.#list.append(card.node);
        return card;
    }

    #render() {
        this.#frame = 0;
        for (const card of this.#dirty) card.render();
        this.#dirty.clear();
        if (this.#follow) this.toBottom();
        else this.#scrolled();
        this.#onChange();
    }

    #scrolled() {
        const s = this.#scroll, left = s.scrollHeight - s.scrollTop - s.clientHeight;
        this.#follow = left < NEAR;
        this.#latest.hidden = this.#follow;
    }
}
