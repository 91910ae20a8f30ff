# Embeddings: POST /v1/embeddings in front of every provider that makes them; batches, retries, what stands in for what, the cache.
use strict;
use warnings;
use utf8;
use lib 't/lib';
use Test::More;
use Encode ();
use JSON::PP ();
use MIME::Base64 ();
use SI::Embed;
use SI::Model;
use SI::Test;
use SI::Test::Api;

my $model = SI::Model->start;
my $other = SI::Model->start;
$_->default(kind => 'embed') for $model, $other;
my $at = 'http://127.0.0.1:' . $model->port;
my ($url, $second) = ($model->base_url, $other->base_url);
my $si = SI::Test->start(workers => 1, env => { SI_TEST_AWS_ID => 'AKIDTEST', SI_TEST_AWS_SECRET => 's3cret' }, config => <<"YAML");
limits: { request_max: 4m }
turn: { deadline: 60s }
gateway: { attempts: 2, backoff: 10ms, backoff_max: 20ms, cooldown: 10ms, cooldown_max: 20ms, key_rest: 1ms, breaker_calls: 10000, embed_cache: 1h }
providers:
  plain: { kind: openai, base_url: "$url", api_key: env:SI_TEST_MODEL_KEY }
  azure: { kind: openai, base_url: "$at/openai/deployments/{model}", api_version: 2024-10-21, key_header: api-key, api_key: env:SI_TEST_MODEL_KEY }
  second: { kind: openai, base_url: "$second" }
  hasty: { kind: openai, base_url: "$url", first_byte_timeout: 300ms }
  gone: { kind: openai, base_url: "http://127.0.0.1:1/v1" }
  google: { kind: gemini, base_url: "$at/v1beta", api_key: env:SI_TEST_MODEL_KEY }
  bedrock: { kind: bedrock, base_url: "$at", region: eu-test-1, access_key: env:SI_TEST_AWS_ID, secret_key: env:SI_TEST_AWS_SECRET }
  sage: { kind: sagemaker, base_url: "$at", region: eu-test-2, access_key: env:SI_TEST_AWS_ID, secret_key: env:SI_TEST_AWS_SECRET }
  two:
    kind: openai
    base_url: "$url"
    endpoints: { bad: { base_url: "http://127.0.0.1:1/v1", weight: 1000 }, good: {} }
models:
  small: { provider: plain, type: embeddings }
  pieces: { provider: plain, type: embeddings, batch: 3 }
  sized: { provider: plain, type: embeddings, dimensions: 6 }
  decimal: { provider: plain, type: embeddings, encoding: float }
  deployed: { provider: azure, type: embeddings, upstream: ada }
  gem: { provider: google, type: embeddings, task_type: SEMANTIC_SIMILARITY }
  raw: { provider: google, type: embeddings, normalize: "off" }
  titan: { provider: bedrock, type: embeddings, upstream: "amazon.titan-embed-text-v2:0" }
  tei: { provider: sage, upstream: my-endpoint }
  tei8: { provider: sage, upstream: other, dimensions: 8, normalize: "off" }
  lost: { provider: gone, type: embeddings, upstream: same, fallback: [found] }
  found: { provider: second, type: embeddings, upstream: same }
  alone: { provider: gone, type: embeddings, upstream: else }
  keys: { provider: two, type: embeddings, upstream: keyed }
  slow: { provider: hasty, type: embeddings }
  priced: { provider: plain, type: embeddings, batch: 2, price: { input: 3 } }
  tiny: { provider: lexical, dimensions: 64 }
tasks:
  embeddings: { models: [alone, found, titan] }
tenants:
  00000000-0000-7000-8000-000000000001: { models: [offline] }
YAML
my $asked = 0;
sub asked { my $q = $model->request($model->wait_request(++$asked)); return $q }
sub embed { my ($name, $input, %more) = @_; return $si->json(POST => '/v1/embeddings', { model => $name, input => $input, %more }) }
my $serial = 0;
sub fresh { return "text number " . ++$serial . ", as no other" }
sub f32 { return [map { 0 + sprintf '%.9g', $_ } unpack 'f<*', pack 'f<*', @_] }

sub metric { my ($name, $labels) = @_; return ($si->http(GET => '/metrics')->{body} =~ /^\Q$name\E\{[^}]*\Q$labels\E\} (\S+)$/m)[0] }

# A test: these are the vectors of these texts, in this order.
sub are_vectors {
    my ($r, $texts, $dims, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is $r->{status}, 200, "$name: 200" or diag $r->{body};
    my $data = $r->{json}{data} || [];
    is_deeply [map { $_->{index} } @$data], [0 .. $#$texts], "$name: in order";
    is_deeply [map { [map { 0 + sprintf '%.9g', $_ } @{ $_->{embedding} }] } @$data], [map { f32(SI::Embed::vector($_, $dims)) } @$texts], "$name: the vectors";
}
sub is_error {
    my ($r, $status, $code, $like, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $e = $r->{json} && $r->{json}{error};
    is_deeply [$r->{status}, $r->{headers}{'content-type'}, $e->{code}], [$status, 'application/json', $code], "$name: $status $code" or diag $r->{body};
    like $e->{message}, $like, "$name: with a reason";
    return $e;
}

subtest 'one text' => sub {
    my $text = fresh();
    my $r = embed('small', $text, user => 'somebody');
    my $q = asked();
    are_vectors($r, [$text], 4, 'openai');
    is_deeply [$r->{json}{object}, $r->{json}{data}[0]{object}, $r->{json}{model}], ['list', 'embedding', 'small'], 'the shape of it';
    is_deeply $r->{json}{usage}, { prompt_tokens => int(length($text) / 4) + 1, total_tokens => int(length($text) / 4) + 1, prompt_tokens_details => { cached_tokens => 0 } }, 'usage';
    is_deeply [@$q{qw(path)}, $q->{headers}{authorization}], ['/v1/embeddings', 'Bearer test-key'], 'where it was asked';
    is_deeply $q->{json}, { model => 'small', input => [$text], encoding_format => 'base64', user => 'somebody' }, 'and what';
    like $r->{headers}{'x-request-id'}, qr/^[0-9a-f]{32}$/, 'the id of the request';
};

subtest 'the formats of the answer have the same bits' => sub {
    for my $name (qw(small decimal tiny)) {
        my @texts = map { fresh() } 1 .. 3;
        my $n = embed($name, \@texts, dimensions => 33);
        my $b = embed($name, \@texts, dimensions => 33, encoding_format => 'base64');
        asked() if $name ne 'tiny';        # the second one is kept, but for lexical, which is always the same
        is_deeply [map { pack 'f<*', @{ $_->{embedding} } } @{ $n->{json}{data} }], [map { MIME::Base64::decode_base64($_->{embedding}) } @{ $b->{json}{data} }], $name;
        is length(MIME::Base64::decode_base64($b->{json}{data}[0]{embedding})), 132, 'of that length';
    }
    $model->next(kind => 'embed', as => 'float');
    my $text = fresh();
    are_vectors(embed('small', $text), [$text], 4, 'a server that knows no base64');
    asked();
};

subtest 'every provider' => sub {
    my @texts = ('Grüße, 世界 😀', "second \"\\\n line", fresh());
    are_vectors(embed('deployed', \@texts, dimensions => 5), \@texts, 5, 'azure');
    my $q = asked();
    is_deeply [$q->{path}, $q->{headers}{'api-key'}, $q->{json}{dimensions}], ['/openai/deployments/ada/embeddings?api-version=2024-10-21', 'test-key', 5], 'azure: asked';

    are_vectors(embed('sized', \@texts), \@texts, 6, 'dimensions of the configuration');
    is asked()->{json}{dimensions}, 6, 'are asked for';

    are_vectors(embed('raw', \@texts, dimensions => 5), \@texts, 5, 'gemini');
    $q = asked();
    is_deeply [$q->{path}, $q->{headers}{'x-goog-api-key'}], ['/v1beta/models/raw:batchEmbedContents', 'test-key'], 'gemini: where';
    is_deeply $q->{json}{requests}[0], { model => 'models/raw', content => { parts => [{ text => $texts[0] }] }, outputDimensionality => 5 }, 'gemini: asked';
    my $r = embed('gem', \@texts);
    is asked()->{json}{requests}[2]{taskType}, 'SEMANTIC_SIMILARITY', 'gemini: what for';
    for my $v (map { $_->{embedding} } @{ $r->{json}{data} }) {
        my $sum = 0;
        $sum += $_ * $_ for @$v;
        cmp_ok abs($sum - 1), '<', 1e-6, 'gemini: of length 1';
    }
    cmp_ok $r->{json}{usage}{prompt_tokens}, '>', 5, 'gemini: its tokens are estimated';

    are_vectors(embed('titan', \@texts, dimensions => 256), \@texts, 256, 'titan');
    my @one = map { asked() } @texts;
    is_deeply [sort map { $_->{json}{inputText} } @one], [sort @texts], 'titan: one text a request';
    is_deeply [map { $one[0]{json}{$_} } qw(dimensions normalize)], [256, JSON::PP::true], 'titan: asked';
    is $one[0]{path}, '/model/amazon.titan-embed-text-v2%3A0/invoke', 'titan: where';
    ok SI::Embed::signed($one[0], 'eu-test-1', 'bedrock', 's3cret'), 'titan: signed';
    is_error(embed('titan', fresh(), dimensions => 300), 400, 'unsupported', qr/256, 512 and 1024/, 'titan: other dimensions');

    are_vectors(embed('tei', \@texts), \@texts, 4, 'sagemaker');
    $q = asked();
    is_deeply [$q->{path}, $q->{json}], ['/endpoints/my-endpoint/invocations', { inputs => \@texts, normalize => JSON::PP::true }], 'sagemaker: asked';
    ok SI::Embed::signed($q, 'eu-test-2', 'sagemaker', 's3cret'), 'sagemaker: signed';
    my $text = fresh();
    $model->next(kind => 'embed', shape => 'embedding', dims => 8);
    are_vectors(embed('tei8', $text), [$text], 8, 'sagemaker: another shape');
    is asked()->{json}{normalize}, JSON::PP::false, 'sagemaker: as it comes';
    $model->next({ kind => 'embed', dims => 7 }, { kind => 'embed', dims => 7 });
    is_error(embed('tei8', fresh()), 502, 'provider_protocol', qr/have 7 numbers and not 8/, 'sagemaker: of another length than was said');
    asked() for 1, 2;
    is_error(embed('tei', fresh(), dimensions => 4), 400, 'unsupported', qr/number of dimensions/, 'sagemaker: dimensions');
    $model->next(map { { kind => 'status', status => 424, body => $_ } } '{"OriginalStatusCode":413,"OriginalMessage":"Input validation error: `inputs` must have less than 512 tokens"}');
    is_error(embed('tei', fresh()), 413, 'provider_rejected', qr/less than 512 tokens/, 'sagemaker: the model refuses');
    asked();

    $r = embed('tiny', \@texts);
    is_deeply [$r->{json}{model}, map { scalar @{ $_->{embedding} } } @{ $r->{json}{data} }], ['lexical-hashing-v1', 64, 64, 64], 'lexical says what it is';
};

subtest 'tokens' => sub {
    are_vectors(embed('small', [[1, 2, 3], [4, 100000]]), [[1, 2, 3], [4, 100000]], 4, 'openai takes them');
    is_deeply asked()->{json}{input}, [[1, 2, 3], [4, 100000]], 'as they are';
    are_vectors(embed('small', [7, 8]), [[7, 8]], 4, 'of one text');
    is_deeply asked()->{json}{input}, [[7, 8]], 'as one';
    is_error(embed($_, [[1, 2]]), 400, 'unsupported', qr/tokens/, "$_ does not") for qw(titan tei gem tiny);
};

subtest 'batches' => sub {
    my @texts = map { fresh() } 1 .. 10;
    $model->default(kind => 'embed', shuffle => 1);
    my $r = embed('pieces', \@texts);
    are_vectors($r, \@texts, 4, 'ten texts in threes');
    my @q = map { asked() } 1 .. 4;
    is_deeply [sort map { scalar @{ $_->{json}{input} } } @q], [1, 3, 3, 3], 'four requests';
    is_deeply [sort map { @{ $_->{json}{input} } } @q], [sort @texts], 'each text once';
    $model->default(kind => 'embed');

    my @many = map { "$_ of many, " . fresh() } 1 .. 300;
    are_vectors(embed('small', \@many), \@many, 4, 'three hundred');
    is_deeply [sort { $a <=> $b } map { scalar @{ asked()->{json}{input} } } 1, 2], [44, 256], 'two requests';
    my @long = map { fresh() . 'x' x 200_000 } 1 .. 3;
    are_vectors(embed('small', \@long), \@long, 4, 'long ones');
    is_deeply [sort map { scalar @{ asked()->{json}{input} } } 1, 2], [1, 2], 'no more than the provider takes together';
    my @google = map { fresh() } 1 .. 101;
    are_vectors(embed('raw', \@google), \@google, 4, 'gemini');
    is_deeply [sort map { scalar @{ asked()->{json}{requests} } } 1, 2], [1, 100], 'gemini: a hundred at most';
    my @sage = map { fresh() } 1 .. 33;
    are_vectors(embed('tei', \@sage), \@sage, 4, 'sagemaker');
    is_deeply [sort map { scalar @{ asked()->{json}{inputs} } } 1, 2], [1, 32], 'sagemaker: thirty-two at most';
};

subtest 'no more than four at a time' => sub {
    my @texts = map { fresh() } 1 .. 18;
    $model->default(kind => 'hang');
    my $s = $si->stream(POST => '/v1/embeddings', { model => 'pieces', input => \@texts });
    asked() for 1 .. 4;
    is $model->active, 4, 'four requests';
    $s->close;
    $model->wait_closed($_) for $asked - 3 .. $asked;
    is $model->count, $asked, 'all end when the client goes, and no other begins';
    $model->default(kind => 'embed');
};

subtest 'failures' => sub {
    my @texts = map { fresh() } 1 .. 9;
    $model->next({ kind => 'embed' }, { kind => 'status', status => 500 }, { kind => 'embed', drop => 1 });
    are_vectors(embed('pieces', \@texts), \@texts, 4, 'two of three fail once');
    is scalar(map { asked() } 1 .. 5), 5, 'and only these are asked again';

    $model->next(map { { kind => 'status', status => 503 } } 1, 2);
    is_error(embed('small', fresh()), 503, 'provider_unavailable', qr/503/, 'twice');
    asked() for 1, 2;
    $model->next({ kind => 'status', status => 429, headers => { 'retry-after-ms' => 5 } });
    my $text = fresh();
    are_vectors(embed('small', $text), [$text], 4, 'after a 429');
    asked() for 1, 2;
    $model->next({ kind => 'status', status => 400, body => '{"error":{"message":"This model\'s maximum context length is 8192 tokens, however you requested 9000 tokens"}}' });
    is_error(embed('small', fresh()), 400, 'context_length_exceeded', qr/8192/, 'a text that is too long');
    asked();
    $model->next({ kind => 'status', status => 401 });
    is_error(embed('small', fresh()), 502, 'credentials_exhausted', qr/401/, 'a key that is refused');
    asked();
    for (['{"data":', qr/malformed/], ['{"data":[{"embedding":[1,"2"]}]}', qr/no number/], ['{"data":[{"embedding":"AAAAAAA="}]}', qr/base64/], ['{"data":[{"embedding":[]}]}', qr/empty/],
        ['{"data":[{"embedding":"AADAfw=="}]}', qr/no number/], ['{"data":[]}', qr/fewer/], ['[]', qr/no list/], ['{"data":[{"embedding":[1]},{"embedding":[1]}]}', qr/more vectors/])
    {
        my ($body, $why) = @$_;
        $model->next(map { { kind => 'status', status => 200, body => $body } } 1, 2);
        is_error(embed('small', fresh()), 502, 'provider_protocol', $why, $body);
        asked() for 1, 2;
    }
    $model->next(map { { kind => 'status', status => 200, body => '<html>', headers => { 'Content-Type' => 'text/html' } } } 1, 2);
    is_error(embed('small', fresh()), 502, 'provider_protocol', qr/JSON/, 'no JSON');
    asked() for 1, 2;
    $model->next({ kind => 'hang' }, { kind => 'hang' });
    is_error(embed('slow', fresh()), 504, 'provider_timeout', qr/in time/, 'a provider that is silent');
    asked() for 1, 2;
};

subtest 'what stands in for what' => sub {
    my $text = fresh();
    are_vectors(embed('lost', $text), [$text], 4, 'the same model elsewhere');
    is $other->request($other->wait_request(1))->{json}{model}, 'same', 'is asked';
    is_error(embed('alone', fresh()), 502, 'provider_unavailable', qr/refused|connect/i, 'another space never stands in');
    is_error(embed('embeddings', fresh()), 502, 'provider_unavailable', qr/refused|connect/i, 'also in the list of the task');
    is $other->count, 1, 'the others of the list were not asked';
    $text = fresh();
    are_vectors(embed('keys', $text), [$text], 4, 'another key');
    asked();
    my $of = 'gen_ai_operation_name="embeddings",gen_ai_provider_name';
    cmp_ok metric('si_model_fallbacks_total', 'model="lost"'), '==', 1, 'counted';
    cmp_ok metric('gen_ai_client_operation_duration_seconds_count', "$of=\"aws.bedrock\",gen_ai_request_model=\"titan\""), '>', 0, 'timed';
    cmp_ok metric('gen_ai_client_token_usage_sum', "$of=\"openai\",gen_ai_request_model=\"small\",gen_ai_token_type=\"input\""), '>', 0, 'their tokens';
    is metric('gen_ai_client_token_usage_sum', "$of=\"openai\",gen_ai_request_model=\"small\",gen_ai_token_type=\"output\""), undef, 'which are of the input only';
};

subtest 'the cache' => sub {
    my ($old, $new) = ("Größe " . fresh(), fresh());
    are_vectors(embed('small', $old), [$old], 4, 'a text');
    asked();
    my $r = embed('small', $old);
    are_vectors($r, [$old], 4, 'the same one');
    is $model->count, $asked, 'is not asked again';
    my $bytes = length Encode::encode('UTF-8', $old);
    is $r->{json}{usage}{prompt_tokens_details}{cached_tokens}, $r->{json}{usage}{prompt_tokens}, 'its tokens are cached ones';
    cmp_ok abs($r->{json}{usage}{prompt_tokens} - $bytes / 4), '<=', 1, 'by its length';
    $r = embed('small', [$new, $old, $new]);
    are_vectors($r, [$new, $old, $new], 4, 'with others');
    is_deeply asked()->{json}{input}, [$new, $new], 'only these are asked for';
    my ($key) = grep { /^si:embed:\{[0-9a-f-]{36}\}:[0-9a-f]{64}$/ } split /\n/, $si->redis('KEYS', 'si:embed:*');
    ok $key, 'it is kept under a digest, for a tenant';
    cmp_ok $si->redis('PTTL', $key), '>', 3_000_000, 'for as long as was said';
    unlike $si->redis('KEYS', '*'), qr/as no other|Gr/, 'no key holds a text';

    are_vectors(embed('pieces', $old), [$old], 4, 'another space');
    are_vectors(embed('small', $old, dimensions => 5), [$old], 5, 'other dimensions');
    my $stranger = member($si, create_key($si, 'strange', 'user'));
    is $stranger->json(POST => '/v1/embeddings', { model => 'small', input => $old })->{status}, 200, 'another tenant';
    is_deeply [map { asked()->{json}{input} } 1 .. 3], [[$old], [$old], [$old]], 'are not served from it';
    is $stranger->json(POST => '/v1/embeddings', { model => 'small', input => $old })->{status}, 200, 'but from their own';
    is $model->count, $asked, 'then';

    $si->redis('FLUSHALL');
    are_vectors(embed('small', $old), [$old], 4, 'what is gone is made anew');
    asked();
    $si->redis('SET', $_, 'xyz') for split /\n/, $si->redis('KEYS', 'si:embed:*');
    are_vectors(embed('small', $old), [$old], 4, 'what is no vector is not taken for one');
    asked();
    my $third = fresh();
    $model->default(kind => 'embed', dims => 3);
    are_vectors(embed('small', [$old, $third]), [$old, $third], 3, 'vectors of another length than are kept');
    is_deeply [map { scalar @{ asked()->{json}{input} } } 1, 2], [1, 2], 'are all made anew';
    $model->default(kind => 'embed');
    cmp_ok metric('si_embeddings_total', 'model="small",from="cache"'), '>', 0, 'counted';

    $si->kill_redis;
    my $alone = fresh();
    for (1, 2) {
        are_vectors(embed('small', $alone), [$alone], 4, 'without Redis');
        asked();
    }
    $si->start_redis;
    poll_until { scalar embed('small', $alone)->{json}{usage}{prompt_tokens_details}{cached_tokens} > 0 } 30, 'the cache to work again';
    $asked = $model->count;
};

subtest 'what it costs' => sub {
    my @texts = map { fresh() } 1 .. 3;
    $model->next({ kind => 'status', status => 500 });
    is embed('priced', \@texts)->{status}, 200, 'three texts in two batches, one of which fails once';
    asked() for 1 .. 3;
    my $r = embed('priced', \@texts);
    is $r->{json}{usage}{prompt_tokens}, $r->{json}{usage}{prompt_tokens_details}{cached_tokens}, 'and again, from the cache';
    my @rows;
    poll_until { @rows = $si->pg(q{SELECT operation, outcome, input_tokens, output_tokens, cost_micros, source FROM usage WHERE model = 'priced' ORDER BY outcome, input_tokens}); @rows >= 3 } 30, 'the ledger';
    my ($one, $two) = map { SI::Embed::tokens(@texts[0 .. $_]) } 0, 1;
    is_deeply \@rows, [['embeddings', 'ok', $one, 0, 3 * $one, 'openai'], ['embeddings', 'ok', $two, 0, 3 * $two, 'openai'], ['embeddings', 'provider_unavailable', 0, 0, 0, 'openai']],
        'each request is in the ledger, and what was kept costs nothing';
};

subtest 'requests that are refused' => sub {
    my $big = fresh();
    for ([{ input => 'x' }, qr/^model: is required/, 'model'], [{ model => 'small' }, qr/^input: is required/, 'input'], [{ model => 'small', input => '' }, qr/empty/, 'input'],
        [{ model => 'small', input => [] }, qr/1 to 2048/, 'input'], [{ model => 'small', input => ['a', ''] }, qr/empty/, 'input[1]'],
        [{ model => 'small', input => [('x') x 2049] }, qr/1 to 2048/, 'input'], [{ model => 'small', input => { a => 1 } }, qr/string/, 'input'],
        [{ model => 'small', input => ['a', 5] }, qr/string/, 'input[1]'], [{ model => 'small', input => [1, 'a'] }, qr/tokens/, 'input'],
        [{ model => 'small', input => [-1] }, qr/tokens/, 'input'], [{ model => 'small', input => [[]] }, qr/tokens/, 'input[0]'],
        [{ model => 'small', input => [(1) x 8193] }, qr/8192/, 'input'], [{ model => 'small', input => 'x', encoding_format => 'int8' }, qr/float or base64/, 'encoding_format'],
        [{ model => 'small', input => 'x', dimensions => 0 }, qr/whole number/, 'dimensions'], [{ model => 'small', input => 'x', dimensions => 9000 }, qr/8192/, 'dimensions'],
        [{ model => 'small', input => 'x', truncate => 1 }, qr/not known/, 'truncate'])
    {
        my ($body, $why, $param) = @$_;
        is is_error($si->json(POST => '/v1/embeddings', $body), 400, 'invalid_field', $why, $param)->{param}, $param, 'which';
    }
    is_error(embed($_, 'x'), 404, 'model_not_found', qr/no model/, $_) for qw(none offline default quick);
    is_error($si->json(POST => '/v1/chat/completions', { model => $_, messages => [{ role => 'user', content => 'x' }] }), 404, 'model_not_found', qr/no model/, "$_ does not chat")
        for qw(small lexical embeddings);
    is_error(embed('small', 'x' x 4_200_000), 413, 'body_too_large', qr/4194304/, 'too large a body');
    is $si->http(POST => '/v1/embeddings', { 'Content-Type' => 'application/json' }, '{}')->{status}, 401, 'without a key';
    is $model->count, $asked, 'nobody was asked';
    is_deeply embed('lexical', "!?\x{2026}")->{json}{model}, 'lexical-hashing-v1', 'a text without a word has a vector';
};

subtest 'the list of models' => sub {
    my %by = map { $_->{id} => $_ } @{ $si->json(GET => '/v1/models')->{json}{data} };
    is_deeply $by{lexical}{embeddings}, { space => 'lexical-hashing-v1', dimensions => 512, about => 'hashes words and parts of words: no language model' }, 'lexical says what it is';
    is_deeply $by{small}{embeddings}, { space => 'small', dimensions => undef }, 'the space of a model';
    is_deeply [$by{embeddings}{owned_by}, $by{embeddings}{embeddings}{space}], ['tasks', 'else'], 'and of the task';
    ok !exists $by{offline}{embeddings}, 'nothing of one that answers';
    is_deeply $si->json(GET => '/v1/models/tiny')->{json}{embeddings}{dimensions}, 64, 'one of them';
};

$si->stop;
done_testing;
