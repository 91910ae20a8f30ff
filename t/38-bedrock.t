# Turns that Amazon Bedrock answers: credentials from a container's endpoint, signed requests, the binary stream, refusals.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use File::Temp qw(tempdir);
use SI::Test;
use SI::Test::Api;
use SI::Test::Bedrock;

my $folder = tempdir('si-bedrock-XXXXXX', TMPDIR => 1, CLEANUP => 1);
my $fake = SI::Test::Bedrock->start($folder);
my $at = 'http://127.0.0.1:' . $fake->port;
my $si = SI::Test->start(workers => 1, env => {
    AWS_CONTAINER_CREDENTIALS_FULL_URI => "$at/creds", AWS_EC2_METADATA_DISABLED => 'true', AWS_REGION => 'eu-test-1',
    AWS_ACCESS_KEY_ID => '', AWS_ROLE_ARN => '', AWS_CONTAINER_CREDENTIALS_RELATIVE_URI => '', AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE => '',
}, config => <<"YAML");
gateway: { attempts: 1 }
providers:
  bedrock:
    kind: bedrock
    base_url: "$at"
models:
  echo: { provider: bedrock, upstream: "eu.test.echo-v1:0" }
  throttled: { provider: bedrock, upstream: "arn:aws:bedrock:eu-test-1:1:inference-profile/throttled" }
  expired: { provider: bedrock, upstream: "expired" }
default_model: echo
YAML
my $conv = conversation($si);

my $turn = run_turn($si, $conv, "Gr\x{fc}\x{df} Gott");
is $turn->{state}, 'completed', 'a turn';
is $turn->{output}, "You said: Gr\x{fc}\x{df} Gott", 'its answer';
is $turn->{finish}, 'length', 'how it ended';
is_deeply [@{ $turn->{usage} }{qw(input_tokens output_tokens)}], [5, 7], 'its usage';
is_deeply [$fake->seen], ['creds', 'signed eu.test.echo-v1%3A0'], 'credentials were fetched, and the request is signed with them';

$turn = run_turn($si, $conv, 'again');
is $turn->{output}, 'You said: again', 'another one';
is scalar(grep { $_ eq 'creds' } $fake->seen), 1, 'the credentials are kept';

$turn = run_turn($si, $conv, { input => 'x', model => 'throttled' });
is $turn->{state}, 'failed', 'an exception within the stream fails the turn';
is $turn->{error}{code}, 'provider_rate_limited', 'its code';
like $turn->{error}{detail}, qr/Too many tokens/, 'the words of the provider';
ok((grep { m{^signed arn%3Aaws%3Abedrock%3Aeu-test-1%3A1%3Ainference-profile%2Fthrottled$} } $fake->seen), 'an ARN is signed as well');

$turn = run_turn($si, $conv, { input => 'x', model => 'expired' });
is $turn->{error}{code}, 'credentials_exhausted', 'a refusal of the credentials';
is $turn->{error}{detail}, 'HTTP 403: the provider refuses the credentials', 'is told';
like slurp($si->dir . '/logs/worker.log'), qr/"AWS refuses the credentials","why":"[^"]*security token [^"]* is expired/, "with AWS's words in the log only: they name accounts";
is scalar(grep { /^wrong/ } $fake->seen), 0, 'no signature was wrong';
$si->stop;
done_testing;
