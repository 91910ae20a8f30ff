#include "conf/keys.h"

#include <stdio.h>

#include "conf/conf.h"

#define IN(member)        offsetof(conf_t, member)
#define PROVIDER(member)  offsetof(conf_provider_t, member)
#define MODEL(member)     offsetof(conf_model_t, member)
#define AGENT(member)     offsetof(conf_agent_t, member)
#define TASK(member)      offsetof(conf_task_t, member)
#define TENANT(member)    offsetof(conf_tenant_t, member)

#define ISSUER(member)    offsetof(conf_issuer_t, member)
#define FILTER(member)    offsetof(conf_filter_t, member)
#define BUDGET(member)    offsetof(conf_budget_t, member)

/* Keys that come over plain HTTP are anybody's; a server of one's own machine is for trying things out. */
#define KEY_PLACES  "https://|http://127.0.0.1:|http://localhost:"

#define KIB   1024ull
#define MIB   (1024 * KIB)
#define SEC   1000ull
#define HOUR  (3600 * SEC)

/*
 * path, type, default, min, max, where it goes, words, what it is.
 * The most of input_max and answer_max is what keeps a turn within one batch of io/pg (8 MiB, see store/rows.h).
 */
const conf_key_t conf_keys[] = {
    { "node", KEY_NAME, NULL, 1, 63, IN(node), NULL,
      "name of this machine among all that share the database; default: its host name", false },
    { "workers", KEY_NUMBER, NULL, 1, 256, IN(workers), NULL,
      "worker processes; default: one for each core", false },
    { "sockets", KEY_TEXT, "/run/si", 1, 80, IN(sockets), NULL,
      "folder of the workers' sockets, the same as in si_pool of nginx.conf", false },
    { "journal", KEY_TEXT, "/var/lib/si/journal", 1, 400, IN(journal), NULL,
      "folder for ends of turns that Postgres cannot take yet", false },

    { "database.url", KEY_PLACE, "postgresql:///si?host=/run/postgresql&user=si_worker", 1, 1024, IN(database_url), NULL,
      "libpq connection string; name a socket folder or an address, since names are resolved synchronously", false },
    { "database.pool", KEY_NUMBER, "4", 1, 64, IN(database_pool), NULL,
      "connections of each worker", false },
    { "redis.url", KEY_PLACE, "redis://127.0.0.1:6379", 1, 1024, IN(redis_url), "redis://|redis+cluster://|redis+sentinel://|unix://",
      "redis://[:password@]host:port[,…][/db], redis+cluster://…, redis+sentinel://host:port[,…]/master or unix:///path[?db=n]", false },

    { "log.file", KEY_TEXT, NULL, 1, 1024, IN(log_file), NULL,
      "file of the log, one JSON object a line; default: standard error", false },
    { "log.level", KEY_LEVEL, "info", 0, 0, IN(log_level), "debug|info|warn|error|alert",
      "lowest level that is written", false },

    { "auth.cache", KEY_DURATION, "60s", 0, 1 * HOUR, IN(auth_cache), NULL,
      "how long Postgres is not asked again about an API key that it knew", false },
    { "auth.negative_cache", KEY_DURATION, "5s", 0, 600 * SEC, IN(auth_negative_cache), NULL,
      "and about one that it did not know", false },
    { "auth.grace", KEY_DURATION, "10m", 0, 24 * HOUR, IN(auth_grace), NULL,
      "while Postgres is away, a key that it knew goes on working for so much longer", false },
    { "auth.ticket", KEY_DURATION, "60s", 1 * SEC, 600 * SEC, IN(auth_ticket), NULL,
      "how long a one-use ticket for a stream is good", false },

    { "auth.keys", KEY_TEXT, "/var/lib/si/keys", 1, 400, IN(auth_keys), NULL,
      "folder where the keys of issuers are kept, for the time when one does not answer", false },
    { "auth.keys_min", KEY_DURATION, "30s", 100, 1 * HOUR, IN(auth_keys_min), NULL,
      "an issuer is asked for its keys no sooner again, whatever happens", false },
    { "auth.keys_max", KEY_DURATION, "1h", 1 * SEC, 24 * HOUR, IN(auth_keys_max), NULL,
      "and no later, also if it says that its keys keep for longer, or says nothing", false },

    { "limits.calls_max", KEY_NUMBER, "20000", 1, 1000000, IN(calls_max), NULL,
      "calls at once in one worker; past it 503", false },
    { "limits.turns_max", KEY_NUMBER, "5000", 1, 100000, IN(turns_max), NULL,
      "turns running at once in one worker; past it 503", false },
    { "limits.turns_per_user", KEY_NUMBER, "100", 0, 100000, IN(turns_per_user), NULL,
      "turns of one user that are not over, on all machines; past it 429; 0: any number", false },
    { "limits.turns_queued", KEY_NUMBER, "8", 0, 64, IN(turns_queued), NULL,
      "turns that wait behind the running one of a conversation; past it 409", false },
    { "limits.input_max", KEY_SIZE, "256k", 1 * KIB, 1 * MIB, IN(input_max), NULL,
      "bytes of one user message", false },
    { "limits.answer_max", KEY_SIZE, "1m", 1 * KIB, 4 * MIB, IN(answer_max), NULL,
      "bytes of one answer; a longer one fails the turn", false },
    { "limits.request_max", KEY_SIZE, "8m", 1 * KIB, 64 * MIB, IN(request_max), NULL,
      "bytes of a request of /v1/chat/completions and its like, which holds a whole conversation", false },

    { "turn.deadline", KEY_DURATION, "10m", 1 * SEC, 24 * HOUR, IN(turn_deadline), NULL,
      "how long a turn may take in all", false },
    { "turn.attempts", KEY_NUMBER, "2", 1, 10, IN(turn_attempts), NULL,
      "a turn whose worker died this often fails", false },
    { "history.messages", KEY_NUMBER, "20", 0, 1000, IN(history_messages), NULL,
      "earlier messages of the conversation that the model gets, at most", false },
    { "history.tokens", KEY_NUMBER, "8000", 0, 2000000, IN(history_tokens), NULL,
      "and how many tokens these may have together (estimated)", false },

    { "gateway.attempts", KEY_NUMBER, "3", 1, 10, IN(gateway_attempts), NULL,
      "how often one model is asked in a call before the next one is", false },
    { "gateway.restarts", KEY_NUMBER, "2", 0, 5, IN(gateway_restarts), NULL,
      "how often a turn's answer may begin anew at another model after it was seen", false },
    { "gateway.deadline", KEY_DURATION, "10m", 1 * SEC, 24 * HOUR, IN(gateway_deadline), NULL,
      "how long a call may take in all, with its retries and waits", false },
    { "gateway.backoff", KEY_DURATION, "500ms", 10, 60 * SEC, IN(gateway_backoff), NULL,
      "pause before the first retry; it doubles, and is made 0.8 to 1.2 times as long at random", false },
    { "gateway.backoff_max", KEY_DURATION, "5s", 10, 600 * SEC, IN(gateway_backoff_max), NULL,
      "the longest such pause", false },
    { "gateway.wait", KEY_DURATION, "10s", 0, 600 * SEC, IN(gateway_wait), NULL,
      "how long a call waits for the next key to come back when all rest", false },
    { "gateway.cooldown", KEY_DURATION, "5s", 1, 600 * SEC, IN(gateway_cooldown), NULL,
      "how long a key rests for a model after 429 when the provider does not say", false },
    { "gateway.cooldown_max", KEY_DURATION, "2m", 1, 24 * HOUR, IN(gateway_cooldown_max), NULL,
      "the longest rest that a provider may ask for", false },
    { "gateway.key_rest", KEY_DURATION, "5m", 1, 24 * HOUR, IN(gateway_key_rest), NULL,
      "how long a key that was refused (401, 402, 403) is left out", false },
    { "gateway.budget_output", KEY_NUMBER, "4096", 1, 10000000, IN(budget_output), NULL,
      "tokens that are reserved for an answer which neither its request nor its model bounds", false },
    { "gateway.breaker_percent", KEY_NUMBER, "50", 1, 100, IN(breaker_percent), NULL,
      "a model at a key is left out when more of its calls fail", false },
    { "gateway.breaker_calls", KEY_NUMBER, "5", 1, 10000, IN(breaker_calls), NULL,
      "and so many were made at least", false },
    { "gateway.breaker_window", KEY_DURATION, "60s", 1 * SEC, 1 * HOUR, IN(breaker_window), NULL,
      "within so long", false },
    { "gateway.breaker_open", KEY_DURATION, "10s", 10, 1 * HOUR, IN(breaker_open), NULL,
      "for so long; then one call tries whether it is well again", false },

    { "gateway.embed_cache", KEY_DURATION, "24h", 0, 30 * 24 * HOUR, IN(gateway_embed_cache), NULL,
      "how long Redis keeps the vector of a text, for each tenant its own; 0: not at all", false },
    { "gateway.cache_ttl", KEY_DURATION, "0s", 0, 30 * 24 * HOUR, IN(gateway_cache_ttl), NULL,
      "how long Redis keeps an answer for equal requests of the same tenant; 0: not at all", false },
    { "gateway.cache_max", KEY_SIZE, "256k", 1 * KIB, 4 * MIB, IN(gateway_cache_max), NULL,
      "bytes of an answer that is kept; a larger one is not", false },
    { "gateway.filters", KEY_FILTERS, "", 0, 0, IN(filters), NULL,
      "filters of every call, beside those of its agent and of its tenant", false },
    { "telemetry.endpoint", KEY_URL, "", 0, 1024, IN(telemetry_endpoint), "http://|https://",
      "collector of traces, without /v1/traces; default: OTEL_EXPORTER_OTLP_ENDPOINT of the environment, or nothing: no traces", false },
    { "telemetry.headers", KEY_SECRET, "", 0, 4096, IN(telemetry_headers), NULL,
      "env:NAME or file:PATH of name=value,name=value, values percent-encoded, which it gets as headers; default: OTEL_EXPORTER_OTLP_HEADERS", false },
    { "telemetry.service", KEY_TEXT, "", 0, 255, IN(telemetry_service), NULL,
      "service.name; default: OTEL_SERVICE_NAME of the environment, or si", false },
    { "telemetry.sample", KEY_SHARE, "1", 0, 1, IN(telemetry_sample), NULL,
      "share of the traces that begin here which are recorded", false },
    { "telemetry.parent", KEY_WORD, "follow", 0, 0, IN(telemetry_parent), "follow|ignore",
      "follow: a request with a traceparent goes on in that trace, recorded if it says so; ignore: each request begins a trace", false },
    { "telemetry.batch", KEY_NUMBER, "512", 1, 8192, IN(telemetry_batch), NULL,
      "spans that are sent at once, at most", false },
    { "telemetry.interval", KEY_DURATION, "5s", 10, 600 * SEC, IN(telemetry_interval), NULL,
      "and fewer after so long", false },
    { "telemetry.queue", KEY_NUMBER, "2048", 1, 100000, IN(telemetry_queue), NULL,
      "spans of a worker that wait to be sent, at most; then the oldest is lost", false },
    { "telemetry.timeout", KEY_DURATION, "10s", 10, 600 * SEC, IN(telemetry_timeout), NULL,
      "of one request to the collector", false },

    { "websocket.ping", KEY_DURATION, "20s", 100, 600 * SEC, IN(websocket_ping), NULL,
      "a client of a WebSocket that is silent for so long is pinged, and closed when it stays silent for as long again", false },

    { "lease", KEY_DURATION, "10s", 100, 600 * SEC, IN(lease_ms), NULL,
      "a worker that is silent for so long is taken for dead, and its turns go to others", false },
    { "drain", KEY_DURATION, "10m", 0, 24 * HOUR, IN(drain_ms), NULL,
      "a draining worker leaves after this at the latest, even if turns still run", false },

    { "default_model", KEY_MODEL, "offline", 0, 0, IN(default_model), NULL,
      "model of a turn whose request, agent and task name none", false },
    { "default_agent", KEY_AGENT, "default", 0, 0, IN(default_agent), NULL,
      "agent of a turn whose request names none", false },

    { "providers.*.kind", KEY_WORD, NULL, 0, 0, PROVIDER(kind), "openai|openai-responses|anthropic|bedrock|sagemaker|gemini|offline|lexical",
      "openai: the chat completions API of OpenAI, Ollama, vLLM and others; openai-responses: OpenAI's Responses API; anthropic: the Messages API; bedrock: Amazon Bedrock's Converse API; sagemaker: an endpoint of Amazon SageMaker that makes embeddings; gemini: Google's; offline: no model, composes its answers; lexical: no model, hashes words into embeddings", true },
    { "providers.*.base_url", KEY_URL, "", 0, 1024, PROVIDER(base_url), "http://|https://",
      "where it is, up to and with /v1 (gemini: /v1beta); needed for all but bedrock, sagemaker, offline and lexical", false },
    { "providers.*.api_key", KEY_SECRET, "", 0, 4096, PROVIDER(api_key), NULL,
      "its key: env:NAME or file:PATH, nothing if it needs none", false },
    { "providers.*.api_version", KEY_TEXT, "", 0, 64, PROVIDER(api_version), NULL,
      "of kind openai: what is sent as ?api-version=, for Azure's dated versions. {model} in base_url is the model's name there", false },
    { "providers.*.key_header", KEY_WORD, "authorization", 0, 0, PROVIDER(key_header), "authorization|api-key",
      "of kind openai: the header that has its key: authorization (Bearer), or api-key, as Azure wants it", false },
    { "providers.*.max_tokens_name", KEY_WORD, "auto", 0, 0, PROVIDER(max_tokens_name), "auto|max_tokens|max_completion_tokens",
      "of kind openai: how it calls the most tokens of an answer; auto: max_completion_tokens at api.openai.com, whose reasoning models want that, max_tokens elsewhere", false },
    { "providers.*.cache_control", KEY_WORD, "off", 0, 0, PROVIDER(cache_control), "off|on",
      "of kind openai: on: it is told where a prompt cache should begin, by cache_control, as OpenRouter and LiteLLM take it", false },
    { "providers.*.send_reasoning", KEY_WORD, "never", 0, 0, PROVIDER(send_reasoning), "never|calls|always",
      "of kind openai: whether reasoning_content of earlier answers goes along: calls, with those that call tools (DeepSeek, Moonshot), and with Gemini's seals of calls", false },
    { "providers.*.beta", KEY_TEXT, "", 0, 1024, PROVIDER(beta), NULL,
      "of kind anthropic: what is sent as anthropic-beta, names of features with commas between", false },
    { "providers.*.traceparent", KEY_WORD, "off", 0, 0, PROVIDER(traceparent), "off|on",
      "on: it gets the header traceparent, so that its traces join ours; only where traces are exported", false },
    { "providers.*.region", KEY_TEXT, "", 0, 64, PROVIDER(region), NULL,
      "of kinds bedrock and sagemaker: region; default: AWS_REGION or AWS_DEFAULT_REGION of the environment", false },
    { "providers.*.access_key", KEY_SECRET, "", 0, 256, PROVIDER(access_key), NULL,
      "of kinds bedrock and sagemaker: access key id, env:NAME or file:PATH; default: the credentials of the process, see README.md", false },
    { "providers.*.secret_key", KEY_SECRET, "", 0, 256, PROVIDER(secret_key), NULL,
      "of kinds bedrock and sagemaker: the secret access key that goes with it", false },
    { "providers.*.session_token", KEY_SECRET, "", 0, 8192, PROVIDER(session_token), NULL,
      "of kinds bedrock and sagemaker: the session token, if the two are temporary", false },
    { "providers.*.connect_timeout", KEY_DURATION, "5s", 10, 600 * SEC, PROVIDER(connect_ms), NULL,
      "until the connection stands", false },
    { "providers.*.first_byte_timeout", KEY_DURATION, "60s", 10, 1 * HOUR, PROVIDER(first_byte_ms), NULL,
      "until the first byte of the answer", false },
    { "providers.*.first_token_timeout", KEY_DURATION, "2m", 10, 1 * HOUR, PROVIDER(first_token_ms), NULL,
      "until the first piece of the answer, whatever else comes before", false },
    { "providers.*.idle_timeout", KEY_DURATION, "60s", 10, 1 * HOUR, PROVIDER(idle_ms), NULL,
      "between two pieces of the answer", false },
    { "providers.*.endpoints.*.base_url", KEY_URL, NULL, 1, 1024, PROVIDER(base_url), "http://|https://",
      "of one of several keys or regions; default: the provider's", false },
    { "providers.*.endpoints.*.api_key", KEY_SECRET, NULL, 0, 4096, PROVIDER(api_key), NULL,
      "its key; default: the provider's", false },
    { "providers.*.endpoints.*.region", KEY_TEXT, NULL, 1, 64, PROVIDER(region), NULL,
      "of kinds bedrock and sagemaker: its region; default: the provider's", false },
    { "providers.*.endpoints.*.access_key", KEY_SECRET, NULL, 0, 256, PROVIDER(access_key), NULL,
      "of kinds bedrock and sagemaker: its access key id; default: the provider's", false },
    { "providers.*.endpoints.*.secret_key", KEY_SECRET, NULL, 0, 256, PROVIDER(secret_key), NULL,
      "of kinds bedrock and sagemaker: its secret access key; default: the provider's", false },
    { "providers.*.endpoints.*.session_token", KEY_SECRET, NULL, 0, 8192, PROVIDER(session_token), NULL,
      "of kinds bedrock and sagemaker: its session token; default: the provider's", false },
    { "providers.*.endpoints.*.weight", KEY_NUMBER, "1", 1, 1000, PROVIDER(weight), NULL,
      "its share of the calls", false },

    { "models.*.provider", KEY_PROVIDER, NULL, 0, 0, MODEL(provider), NULL,
      "which provider has it", true },
    { "models.*.upstream", KEY_TEXT, NULL, 1, 256, MODEL(upstream), NULL,
      "the provider's name of it; default: the same", false },
    { "models.*.max_tokens", KEY_NUMBER, "0", 0, 10000000, MODEL(max_tokens), NULL,
      "of one answer; 0: the provider's default", false },
    { "models.*.stream", KEY_WORD, "on", 0, 0, MODEL(stream), "on|off",
      "off for a model of bedrock that cannot stream: its answer comes as one piece", false },
    { "models.*.type", KEY_WORD, "chat", 0, 0, MODEL(type), "chat|embeddings",
      "what it makes: answers, or embeddings; of kinds sagemaker and lexical always embeddings", false },
    { "models.*.space", KEY_TEXT, NULL, 1, 256, MODEL(space), NULL,
      "of embeddings: name of its vector space; one model stands in for another only if both names are the same; default: upstream", false },
    { "models.*.dimensions", KEY_NUMBER, "0", 0, 8192, MODEL(dimensions), NULL,
      "of embeddings: numbers of a vector, unless the request says how many; 0: the model's own, of lexical 512", false },
    { "models.*.task_type", KEY_TEXT, "", 0, 64, MODEL(task_type), NULL,
      "of embeddings, of kind gemini: what the vectors are for, such as SEMANTIC_SIMILARITY", false },
    { "models.*.normalize", KEY_WORD, "on", 0, 0, MODEL(normalize), "on|off",
      "of embeddings: on asks for vectors of length 1; off for those of bedrock, sagemaker and gemini as the model makes them", false },
    { "models.*.encoding", KEY_WORD, "base64", 0, 0, MODEL(encoding), "base64|float",
      "of embeddings, of kind openai: how the provider is to send vectors; float for one that knows no base64", false },
    { "models.*.batch", KEY_NUMBER, "0", 0, 2048, MODEL(batch), NULL,
      "of embeddings: texts of one request to the provider; 0: as many as its kind takes, 256 at most", false },

    { "models.*.price.input", KEY_PRICE, "0", 0, CONF_PRICE_MAX, MODEL(price.input), NULL,
      "US dollars for a million tokens of input, exact to 6 places", false },
    { "models.*.price.output", KEY_PRICE, "0", 0, CONF_PRICE_MAX, MODEL(price.output), NULL,
      "the same for output", false },
    { "models.*.price.cached_input", KEY_PRICE, "", 0, CONF_PRICE_MAX, MODEL(price.cached_input), NULL,
      "for input that the provider read from its prompt cache; default: price.input", false },
    { "models.*.price.cache_write", KEY_PRICE, "", 0, CONF_PRICE_MAX, MODEL(price.cache_write), NULL,
      "for input that it wrote to its prompt cache; default: price.input", false },
    { "models.*.price.reasoning", KEY_PRICE, "", 0, CONF_PRICE_MAX, MODEL(price.reasoning), NULL,
      "for output that is reasoning; default: price.output", false },
    { "models.*.fallback", KEY_MODELS, "", 0, 0, MODEL(fallback), NULL,
      "models that are asked in this order when it fails", false },
    { "models.*.context_fallback", KEY_MODELS, "", 0, 0, MODEL(context_fallback), NULL,
      "the same when the prompt is too long for it; default: fallback", false },
    { "models.*.filter_fallback", KEY_MODELS, "", 0, 0, MODEL(filter_fallback), NULL,
      "the same when its content filter refuses the prompt; default: fallback", false },

    { "models.*.cache_ttl", KEY_DURATION, NULL, 0, 30 * 24 * HOUR, MODEL(cache_ttl), NULL,
      "gateway.cache_ttl for calls that this model is to answer; default: the agent's", false },
    { "models.*.safety", KEY_TEXTS, "", 3, 128, MODEL(safety), NULL,
      "of kind gemini: its safetySettings, as HARM_CATEGORY_HARASSMENT=BLOCK_ONLY_HIGH", false },
    { "models.*.guardrail", KEY_TEXT, "", 0, 2048, MODEL(guardrail), NULL,
      "of kind bedrock: id or ARN of the guardrail that it is asked with", false },
    { "models.*.guardrail_version", KEY_TEXT, "DRAFT", 1, 8, MODEL(guardrail_version), NULL,
      "of kind bedrock: its version, a number or DRAFT", false },
    { "models.*.guardrail_mode", KEY_WORD, "sync", 0, 0, MODEL(guardrail_mode), "sync|async",
      "of kind bedrock: whether a stream waits for it; with async, text may be out before it is found", false },

    { "tasks.*.models", KEY_MODELS, "", 0, 0, TASK(models), NULL,
      "models for this class of work in the order in which they are asked; default: default_model", false },

    { "agents.*.model", KEY_MODEL, NULL, 0, 0, AGENT(model), NULL,
      "model of its turns whose request names none; default: those of its task", false },
    { "agents.*.fallback", KEY_MODELS, "", 0, 0, AGENT(fallback), NULL,
      "models that are asked in this order when that one fails; default: the model's own", false },
    { "agents.*.task", KEY_TASK, "quick", 0, 0, AGENT(task), NULL,
      "class of its work, which has the models if it names none", false },
    { "agents.*.prompt", KEY_TEXT, "", 0, 65536, AGENT(prompt), NULL,
      "system prompt", false },
    { "agents.*.over_budget_keep", KEY_NUMBER, "100", 1, 100, AGENT(over_budget_keep), NULL,
      "percent of the context that is sent when the money does not suffice for all of it: the oldest messages go first", false },
    { "agents.*.over_budget_summary", KEY_MODEL, NULL, 0, 0, AGENT(over_budget_summary), NULL,
      "model that sums up the messages which over_budget_keep leaves out; default: they are left out without a word", false },
    { "agents.*.over_budget_summary_tokens", KEY_NUMBER, "400", 16, 100000, AGENT(over_budget_summary_tokens), NULL,
      "the most tokens of that summary", false },
    { "agents.*.over_budget_summary_time", KEY_DURATION, "20s", 100, 10 * 60 * 1000, AGENT(over_budget_summary_time), NULL,
      "how long it may take; then the messages are left out without it", false },
    { "agents.*.over_budget_models", KEY_MODELS, "", 0, 0, AGENT(over_budget_models), NULL,
      "cheaper models that are asked instead when it does not suffice for that either", false },

    { "agents.*.cache_ttl", KEY_DURATION, NULL, 0, 30 * 24 * HOUR, AGENT(cache_ttl), NULL,
      "gateway.cache_ttl for calls through this agent; default: that", false },
    { "agents.*.filters", KEY_FILTERS, "", 0, 0, AGENT(filters), NULL,
      "filters of calls through this agent; what must hold for a caller that names a model goes to gateway.filters or the tenant", false },

    { "tenants.*.models", KEY_MODELS, "", 0, 0, TENANT(models), NULL,
      "models that the calls of this tenant (by its id) may use; default: all", false },
    { "tenants.*.filters", KEY_FILTERS, "", 0, 0, TENANT(filters), NULL,
      "filters of this tenant's calls", false },
    { "tenants.*.routes.*.models", KEY_MODELS, "", 0, 0, TASK(models), NULL,
      "what this tenant gets instead of the models of an agent, a task or a model of this name", false },
    { "issuers.*.issuer", KEY_URL, "", 0, 1024, ISSUER(issuer), KEY_PLACES,
      "URL of the issuer, below which /.well-known/openid-configuration names the place of its keys", false },
    { "issuers.*.jwks_url", KEY_URL, "", 0, 1024, ISSUER(jwks_url), KEY_PLACES,
      "that place, if it is known; then issuer is not asked", false },
    { "filters.*.action", KEY_WORD, "block", 0, 0, FILTER(action), "block|redact|report",
      "what is done with a match: block refuses the message or ends the answer, redact puts replacement in its place, report only counts it", false },
    { "filters.*.direction", KEY_WORD, "both", 0, 0, FILTER(direction), "input|output|both",
      "where it looks: in what goes to models, in what comes from them", false },
    { "filters.*.replacement", KEY_TEXT, "[removed]", 0, 64, FILTER(replacement), NULL,
      "what stands in the place of a match that is redacted; no quotes, backslashes or control characters, since the text may be JSON", false },
    { "filters.*.whole_words", KEY_WORD, "on", 0, 0, FILTER(whole_words), "on|off",
      "whether words count only without a letter or digit beside them", false },
    { "filters.*.words", KEY_TEXTS, "", 1, 128, FILTER(words), NULL,
      "words and phrases, in any case; a space stands for any white space", false },
    { "filters.*.patterns", KEY_TEXTS, "", 1, 1024, FILTER(patterns), NULL,
      "regular expressions (PCRE2, Unicode), 64 at most", false },
    { "filters.*.ready", KEY_TEXTS, "", 1, 32, FILTER(ready), "email|phone|card|iban|aws_key|private_key|si_key",
      "ready-made ones: e-mail addresses, telephone numbers, payment cards (Luhn), IBANs (mod 97), keys of AWS, private keys in PEM, Si's keys", false },

    { "budgets.*.per", KEY_WORD, "tenant", 0, 0, BUDGET(per), "all|tenant|user|key|agent",
      "whose calls count together", false },
    { "budgets.*.tenant", KEY_NAME, "", 0, 36, BUDGET(tenant), NULL,
      "only calls of this tenant, by its id; default: of any", false },
    { "budgets.*.user", KEY_NAME, "", 0, 36, BUDGET(user), NULL,
      "only calls of this user, by its id", false },
    { "budgets.*.key", KEY_NAME, "", 0, 36, BUDGET(key), NULL,
      "only calls with this API key, by its id", false },
    { "budgets.*.agent", KEY_AGENT, NULL, 0, 0, BUDGET(agent), NULL,
      "only calls of this agent", false },
    { "budgets.*.model", KEY_MODEL, NULL, 0, 0, BUDGET(model), NULL,
      "only calls of this model", false },
    { "budgets.*.provider", KEY_PROVIDER, NULL, 0, 0, BUDGET(provider), NULL,
      "only calls of models of this provider", false },
    { "budgets.*.away", KEY_WORD, "open", 0, 0, BUDGET(away), "open|closed",
      "while Redis does not answer: open, each worker has its share of what is left; closed, 503", false },
    { "budgets.*.period", KEY_WORD, "month", 0, 0, BUDGET(period), "minute|hour|day|month|total",
      "how long it lasts, by the calendar in UTC; total: for ever", false },
    { "budgets.*.dollars", KEY_PRICE, "0", 0, CONF_DOLLARS_MAX, BUDGET(dollars), NULL,
      "US dollars of a period; 0: any amount", false },
    { "budgets.*.calls", KEY_NUMBER, "0", 0, 1000000000000ull, BUDGET(calls), NULL,
      "calls of models in a period; 0: any number", false },

    { "rates.*.per", KEY_WORD, "tenant", 0, 0, BUDGET(per), "all|tenant|user|key|agent",
      "whose calls count together", false },
    { "rates.*.tenant", KEY_NAME, "", 0, 36, BUDGET(tenant), NULL,
      "only calls of this tenant, by its id; default: of any", false },
    { "rates.*.user", KEY_NAME, "", 0, 36, BUDGET(user), NULL,
      "only calls of this user, by its id", false },
    { "rates.*.key", KEY_NAME, "", 0, 36, BUDGET(key), NULL,
      "only calls with this API key, by its id", false },
    { "rates.*.agent", KEY_AGENT, NULL, 0, 0, BUDGET(agent), NULL,
      "only calls of this agent", false },
    { "rates.*.model", KEY_MODEL, NULL, 0, 0, BUDGET(model), NULL,
      "only calls of this model", false },
    { "rates.*.provider", KEY_PROVIDER, NULL, 0, 0, BUDGET(provider), NULL,
      "only calls of models of this provider", false },
    { "rates.*.away", KEY_WORD, "open", 0, 0, BUDGET(away), "open|closed",
      "while Redis does not answer: open, each worker has its share of what is left; closed, 503", false },
    { "rates.*.requests", KEY_NUMBER, "0", 0, 1000000000, BUDGET(calls), NULL,
      "calls of models a minute; 0: any number", false },
    { "rates.*.tokens", KEY_NUMBER, "0", 0, 1000000000000ull, BUDGET(tokens), NULL,
      "tokens of input and output a minute; 0: any number", false },
};

const size_t conf_nkeys = SI_COUNT(conf_keys);

size_t conf_list_max(key_type_t t)
{
    return t == KEY_MODELS ? CONF_MODELS_MAX : t == KEY_TEXTS ? CONF_TEXTS_MAX : t == KEY_FILTERS ? CONF_FILTERS_MAX : 0;
}

static void size_text(uint64_t v, char *out, size_t cap)
{
    const char *unit = v >= MIB && v % MIB == 0 ? "m" : v >= KIB && v % KIB == 0 ? "k" : "";

    snprintf(out, cap, "%llu%s", (unsigned long long) (*unit == 'm' ? v / MIB : *unit == 'k' ? v / KIB : v), unit);
}

static void duration_text(uint64_t v, char *out, size_t cap)
{
    if (v >= HOUR && v % HOUR == 0) {
        snprintf(out, cap, "%lluh", (unsigned long long) (v / HOUR));
    } else if (v % SEC == 0 && v > 0) {
        snprintf(out, cap, "%llus", (unsigned long long) (v / SEC));
    } else {
        snprintf(out, cap, "%llums", (unsigned long long) v);
    }
}

void conf_expected(const conf_key_t *k, char *out, size_t cap)
{
    char from[32], to[32];

    switch (k->type) {
    case KEY_NUMBER:
        snprintf(out, cap, "a whole number from %llu to %llu", (unsigned long long) k->min, (unsigned long long) k->max);
        break;
    case KEY_SHARE:
        snprintf(out, cap, "a number from %llu to %llu, such as 0.25", (unsigned long long) k->min, (unsigned long long) k->max);
        break;
    case KEY_SIZE:
        size_text(k->min, from, sizeof(from));
        size_text(k->max, to, sizeof(to));
        snprintf(out, cap, "a size from %s to %s, such as 64k", from, to);
        break;
    case KEY_DURATION:
        duration_text(k->min, from, sizeof(from));
        duration_text(k->max, to, sizeof(to));
        snprintf(out, cap, "a duration from %s to %s, such as 500ms, 10s or 5m", from, to);
        break;
    case KEY_TEXT:
        snprintf(out, cap, "a text of %llu to %llu bytes", (unsigned long long) k->min, (unsigned long long) k->max);
        break;
    case KEY_NAME:
        snprintf(out, cap, "a name of %llu to %llu letters, digits and . _ -", (unsigned long long) k->min,
                 (unsigned long long) k->max);
        break;
    case KEY_URL:
        snprintf(out, cap, "a URL that starts with %s", k->words);
        break;
    case KEY_WORD: case KEY_LEVEL:
        snprintf(out, cap, "one of %s", k->words);
        break;
    case KEY_PROVIDER:
        snprintf(out, cap, "a name under providers");
        break;
    case KEY_MODEL:
        snprintf(out, cap, "a name under models");
        break;
    case KEY_AGENT:
        snprintf(out, cap, "a name under agents");
        break;
    case KEY_TASK:
        snprintf(out, cap, "a name under tasks");
        break;
    case KEY_MODELS:
        snprintf(out, cap, "a list of at most %d names under models", CONF_MODELS_MAX);
        break;
    case KEY_PRICE:
        snprintf(out, cap, "a price from 0 to %llu with at most 6 places, such as 0.15", (unsigned long long) (k->max / 1000000));
        break;
    case KEY_TEXTS:
        if (k->words != NULL) {
            snprintf(out, cap, "a list whose members are each one of %s", k->words);
        } else {
            snprintf(out, cap, "a list of at most %d texts of %llu to %llu bytes", CONF_TEXTS_MAX, (unsigned long long) k->min,
                     (unsigned long long) k->max);
        }
        break;
    case KEY_FILTERS:
        snprintf(out, cap, "a list of at most %d names under filters", CONF_FILTERS_MAX);
        break;
    case KEY_SECRET:
        snprintf(out, cap, "env:NAME or file:PATH");
        break;
    case KEY_PLACE:
        snprintf(out, cap, "%s%s, env:NAME or file:PATH", k->words ? "a URL that starts with " : "a connection string",
                 k->words ? k->words : "");
        break;
    }
}
