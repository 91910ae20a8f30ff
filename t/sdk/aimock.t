#!/usr/bin/perl
# @copilotkit/aimock as provider in front of whom the clients of OpenAI and Anthropic stand, with and without a fallback. See aimock.mjs.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Test::More;
use SI::Model;
use SI::Node;
use SI::Test;

SI::Node->need('@copilotkit/aimock', '@anthropic-ai/sdk', 'openai');

my $safe = SI::Model->start;
$safe->default(kind => 'tokens', tokens => ['It ', 'is ', 'well.']);
my $port = free_port();
my $at = "http://127.0.0.1:$port";
my %kinds = (openai => "openai, base_url: \"$at/v1\"", responses => "openai-responses, base_url: \"$at/v1\"", anthropic => "anthropic, base_url: \"$at/v1\"",
    gemini => "gemini, base_url: \"$at/v1beta\"", bedrock => "bedrock, base_url: \"$at\", region: eu-test-1");
my $yaml = "gateway: { attempts: 1, restarts: 1, key_rest: 1ms, cooldown: 1ms, cooldown_max: 1ms, wait: 0s, breaker_calls: 10000 }\nproviders:\n";
for my $kind (sort keys %kinds) {
    my $key = $kind eq 'bedrock' ? '' : ', api_key: env:SI_TEST_MODEL_KEY';
    $yaml .= "  $kind: { kind: $kinds{$kind}$key }\n  $kind-hasty: { kind: $kinds{$kind}$key, first_byte_timeout: 500ms }\n";
}
$yaml .= '  safe: { kind: openai, base_url: "' . $safe->base_url . "\" }\nmodels:\n  safe: { provider: safe }\n";
for my $kind (sort keys %kinds) {
    $yaml .= "  $kind-alone$_: { provider: $kind$_, upstream: mock }\n  $kind-paired$_: { provider: $kind$_, upstream: mock, fallback: [safe] }\n" for '', '-hasty';
}
my $si = SI::Test->start(workers => 2, config => $yaml, env => { AWS_ACCESS_KEY_ID => 'AKIATEST', AWS_SECRET_ACCESS_KEY => 'secret', AWS_SESSION_TOKEN => '', AWS_REGION => 'eu-test-1', AWS_ROLE_ARN => '' });
SI::Node->drive('sdk/aimock.mjs', {}, $si->url, $si->key, $port);
done_testing;
