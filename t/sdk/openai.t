#!/usr/bin/perl
# OpenAI's own client and Vercel's AI SDK, unchanged, against a whole Si: its upstream is the model that the script tells what
# to say.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Test::More;
use JSON::PP ();
use SI::Model;
use SI::Node;
use SI::Test;

SI::Node->need('openai', 'ai', '@ai-sdk/openai-compatible', 'zod');

my $model = SI::Model->start;
my $url = $model->base_url;
my $si = SI::Test->start(workers => 2, config => <<"YAML");
gateway: { attempts: 1, restarts: 0, cooldown: 1ms, cooldown_max: 1s, breaker_calls: 10000 }
providers:
  fake: {kind: openai, base_url: "$url"}
models:
  fake-1: {provider: fake}
  vectors: {provider: fake, type: embeddings}
YAML

my $json = JSON::PP->new->utf8;
my %do = (
    next => sub {
        my $how = $json->decode($_[0]);
        for (ref $how eq 'ARRAY' ? @$how : $how) {
            utf8::encode($_->{bytes}) if defined $_->{bytes};
            $model->next(%$_);
        }
        return;
    },
    request => sub { my $n = $model->wait_request($_[0]); return $model->request($n)->{json} },
    go => sub { $model->go($model->count, $_[0]); return },
    closed => sub { $model->wait_closed($_[0]); return },
);
SI::Node->drive('sdk/openai.mjs', \%do, $si->url, $si->key);
done_testing;
