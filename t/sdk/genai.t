#!/usr/bin/perl
# Google's own client (@google/genai) as the judge of what Si makes of Gemini's answers, and of the requests that Si writes. See genai.mjs.
# SI_GENAI_RECORDINGS: a folder of recordings of that client's own tests.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Test::More;
use JSON::PP ();
use SI::Model;
use SI::Node;
use SI::Test;

SI::Node->need('@google/genai', 'openai');

my $json = JSON::PP->new->utf8;
my $model = SI::Model->start;
my $url = $model->base_url;
my $si = SI::Test->start(workers => 1, config => <<"YAML");
gateway: { attempts: 1, restarts: 0, key_rest: 1ms, cooldown: 1ms, cooldown_max: 1ms, breaker_calls: 10000 }
providers:
  google: { kind: gemini, base_url: "$url", api_key: env:SI_TEST_MODEL_KEY }
models:
  gem-1: { provider: google, upstream: gemini-3-x }
YAML

SI::Node->drive('sdk/genai.mjs', {
    default => sub { my $how = $json->decode(shift); utf8::encode($how->{bytes}); $model->default(%$how); return },
    request => sub { my $q = $model->request($model->count); return { json => $q->{json}, path => $q->{path}, key => $q->{headers}{'x-goog-api-key'} } },
}, $si->url, $si->key, "http://127.0.0.1:" . $model->port, $ENV{SI_GENAI_RECORDINGS} // ());
done_testing;
