/* Types of si-client.js. The wire's own objects keep the wire's names; see openapi.yaml. */

export type TurnState = 'queued' | 'running' | 'completed' | 'failed' | 'cancelled';

export interface Conversation {
    id: string;
    /** Empty without one. */
    title: string;
    created: string;
    updated: string;
    version: number;
    last_turn: number;
}

/** How many read a conversation's stream, on all machines. Not `complete`: there may be more. */
export interface Readers {
    readers: number;
    complete: boolean;
}

export interface Message {
    id: string;
    turn: string;
    role: 'user' | 'assistant';
    content: string;
    number: number;
    tokens: number;
    created: string;
}

export interface Usage {
    input_tokens: number | null;
    output_tokens: number | null;
    /** The answer was there before: no model was asked, and it cost nothing. */
    cached_answer: boolean;
    /** The provider did not say; Si has estimated. */
    estimated: boolean;
}

export interface TurnError {
    code: string;
    detail: string;
    retryable: boolean;
}

export interface Turn {
    id: string;
    conversation: string;
    number: number;
    /** Place among all turns of the user. */
    ordinal: number;
    state: TurnState;
    input: string;
    /** Empty before the end. */
    output: string;
    model: string;
    agent: string;
    attempt: number;
    client_turn_id: string;
    error: TurnError | null;
    usage: Usage;
    finish: string;
    first_token_ms: number | null;
    duration_ms: number | null;
    created: string;
    finished: string | null;
}

export interface Ticket {
    ticket: string;
    path: string;
    /** Whose pages may use it; null: all. */
    origin: string | null;
    expires: string;
}

export interface Page<T> {
    data: T[];
    /** Give it as `cursor` for the next page; null on the last one. */
    next: string | null;
}

export interface AnswerMessage {
    id: string;
    role: 'assistant';
    content: string;
}

interface EventBase<T extends string> {
    /** `<turn number>.<event number>`, or null if the event carried none. */
    id: string | null;
    type: T;
    /** The turn's id. */
    turn: string;
}

export interface TurnAccepted extends EventBase<'turn.accepted'> {
    conversation: string;
    number: number;
    /** Place among all turns of the user. */
    ordinal: number;
    input: string;
    client_turn_id: string;
    created: string;
}
export interface TurnStarted extends EventBase<'turn.started'> {
    agent: string;
    model: string;
    attempt: number;
}
export interface Delta extends EventBase<'delta'> {
    text: string;
}
export interface Reasoning extends EventBase<'reasoning'> {
    text: string;
}
/** Discard the text so far. */
export interface TurnRestarted extends EventBase<'turn.restarted'> {
    attempt: number;
    reason: string;
}
interface TurnEnd {
    conversation: string;
    number: number;
    model: string;
    agent: string;
    finish: string;
    usage: Usage;
    first_token_ms: number | null;
    duration_ms: number | null;
}
export interface TurnCompleted extends EventBase<'turn.completed'>, TurnEnd {
    message: AnswerMessage;
}
export interface TurnFailed extends EventBase<'turn.failed'>, TurnError {}
export interface TurnCancelled extends EventBase<'turn.cancelled'>, TurnEnd {
    /** What was said until then. */
    message: AnswerMessage | null;
}

/** Of the stream and no turn, without an id: the machine that owns the conversation cannot be heard for now. */
export interface StreamDegraded { type: 'stream.degraded'; reason: string; id?: undefined; turn?: undefined }
/** The same, and the last one: the credential has expired or was revoked. The client asks again with what `key` gives then. */
export interface AuthExpired { type: 'auth.expired'; id?: undefined; turn?: undefined }
/** A server newer than this file may send other types too: ignore what you do not know. */
export type TurnEvent =
    | TurnAccepted | TurnStarted | Delta | Reasoning | TurnRestarted | TurnCompleted | TurnFailed | TurnCancelled
    | StreamDegraded | AuthExpired;

/** A refused or failed request. */
export class SiError extends Error {
    constructor(code: string, message: string, more?: {
        status?: number; field?: string; retryAfter?: number; retryable?: boolean; cause?: unknown;
    });
    /** The problem's code, a failed turn's code, or `network`, `timeout`, `protocol`, `aborted`. */
    readonly code: string;
    /** HTTP status; 0: there was no answer. */
    readonly status: number;
    readonly field?: string;
    /** Milliseconds; 0: the server did not say. */
    readonly retryAfter: number;
    readonly retryable: boolean;
}

export interface SseEvent {
    event: string;
    data: string;
    lastEventId: string;
    /** The id this event itself carried. */
    id: string | undefined;
}

/** Parses text/event-stream at any split of its bytes. */
export class SseParser {
    constructor(on: {
        onEvent: (event: SseEvent) => void;
        onRetry?: (milliseconds: number) => void;
        onComment?: (text: string) => void;
        /** An id that came without an event. */
        onId?: (id: string) => void;
        lastEventId?: string;
    });
    readonly lastEventId: string;
    feed(bytes: Uint8Array): void;
}

/** What a turn's events add up to. */
export class TurnView {
    id: string | null;
    conversation: string | null;
    number: number;
    state: TurnState;
    input: string;
    /** The answer so far; emptied by turn.restarted. */
    text: string;
    reasoning: string;
    model: string | null;
    agent: string | null;
    attempt: number;
    clientTurnId: string | null;
    created: string | null;
    finish: string | null;
    usage: Usage | null;
    firstTokenMs: number | null;
    durationMs: number | null;
    error: TurnError | null;
    readonly over: boolean;
    /** False: this event was applied before. */
    apply(event: TurnEvent): boolean;
    adopt(turn: Turn): this;
}

export type StreamState = 'connecting' | 'open' | 'waiting' | 'closed';

interface StreamOptions {
    signal?: AbortSignal;
    /** Each change of the connection; `error` says why it waits or has closed. */
    onState?: (state: StreamState, error: SiError | null) => void;
}

interface Stream<E = TurnEvent> extends AsyncIterable<E> {
    readonly state: StreamState;
    /** Give it to a later call to go on from here. */
    readonly lastEventId: string;
    /** Reconnects now, if it is waiting to. */
    reconnect(): void;
    /** Stops reading. Cancels nothing. */
    close(): void;
    [Symbol.asyncIterator](): AsyncGenerator<E, void, void>;
}

/** Every event of a conversation, for one loop. Leaving the loop closes it. */
export interface EventStream extends Stream {}
export const EventStream: { readonly prototype: EventStream };

/** An event with the conversation it belongs to; `id` is its id there. */
export type FeedEvent = TurnEvent & { conversation?: string };
/** Every event of all conversations, for one loop. lastEventId belongs to this stream alone. */
export interface FeedStream extends Stream<FeedEvent> {}
export const FeedStream: { readonly prototype: FeedStream };

/** One turn. Any number of loops read it from its first event; leaving one stops nothing. */
export interface TurnStream extends Stream {
    /** What the events so far add up to. */
    readonly turn: TurnView;
    /** The turn's id, once the server has stored the message. */
    readonly accepted: Promise<string>;
    /** The whole answer; of a cancelled turn what was said until then. Rejects when the turn failed. */
    readonly text: Promise<string>;
    /** The finished turn, also a failed one. Rejects when the request was refused. */
    readonly done: Promise<TurnView>;
    /** Cancels the turn itself, for everybody. */
    cancel(): Promise<Turn>;
}
export const TurnStream: { readonly prototype: TurnStream };

export type TurnInput = string | {
    input: string;
    model?: string;
    agent?: string;
    /** Sent again, it is the same turn. Random without it. */
    clientTurnId?: string;
};

interface Signal { signal?: AbortSignal }
interface PageOptions extends Signal { limit?: number; cursor?: string | null }

export class SiClient {
    constructor(options: {
        baseUrl: string | URL;
        /** The API key, or a function asked before each request. */
        key?: string | (() => string | Promise<string>);
        fetch?: typeof fetch;
        /** Milliseconds, of a request that is not a stream. 30,000. */
        requestTimeout?: number;
        /** Milliseconds without a byte until a stream reconnects. 45,000: three heartbeats. */
        idleTimeout?: number;
    });

    /** All conversations of the caller on one connection. From now (and running turns from their beginning), `start`, or `lastEventId`. */
    events(options?: { lastEventId?: string; from?: 'start' | 'now' } & StreamOptions): FeedStream;
    readonly conversations: {
        create(options?: { title?: string; idempotencyKey?: string } & Signal): Promise<Conversation>;
        list(options?: PageOptions): Promise<Page<Conversation>>;
        get(id: string, options?: Signal): Promise<Conversation>;
        /** Reconnects by itself and gives each event once. From now, from `start`, or after `lastEventId`. */
        events(id: string, options?: { lastEventId?: string; from?: 'start' | 'now' } & StreamOptions): EventStream;
        /** A new reader is counted within about a second. To be asked when somebody looks, not in a loop. */
        readers(id: string, options?: Signal): Promise<Readers>;
    };
    readonly turns: {
        /** Sends a message and follows its turn. */
        send(conversation: string, input: TurnInput, options?: StreamOptions): TurnStream;
        /** Sends a message and does not wait for the answer. */
        start(conversation: string, input: TurnInput, options?: Signal): Promise<Turn>;
        get(id: string, options?: Signal): Promise<Turn>;
        follow(id: string, options?: { lastEventId?: string } & StreamOptions): TurnStream;
        cancel(id: string, options?: Signal): Promise<Turn>;
    };
    readonly tickets: {
        /** A one-use ticket for an EventSource or WebSocket of this page: put it into the address as `?ticket=`. */
        create(path: string, options?: Signal): Promise<Ticket>;
    };
    readonly messages: {
        /** The oldest first. */
        list(conversation: string, options?: PageOptions): Promise<Page<Message>>;
    };
}
