# How many turns of a user are not over: counted in the store, so exact over workers, conversations and clients that race.
use strict;
use warnings;
use lib 't/lib';
use Test::More;
use SI::Model;
use SI::Test;
use SI::Test::Api;

my $model = SI::Model->start;
my $si = SI::Test->start(model => $model, workers => 2, config => "limits:\n  turns_per_user: 4\n");
my $other = member($si, create_key($si, 'dev', 'other'));
$model->default(kind => 'step');
my @chats = map { conversation($si) } 1 .. 12;

# All at once, in as many conversations, which both workers own.
my @all = map { $si->stream(POST => "/v1/conversations/$_/turns", { input => 'x' }, { Accept => '*/*', Prefer => 'respond-async', 'Idempotency-Key' => "k-$_" }, keep_body => 1) } @chats;
my @r = map { SI::Test::answer($_) } @all;
is scalar(grep { $_->{status} == 202 } @r), 4, 'four of twelve';
my @in = grep { $r[$_]{status} == 202 } 0 .. $#r;
my ($out) = my @out = grep { $r[$_]{status} == 429 } 0 .. $#r;
is_problem $r[$_], 429, 'too_many_turns', undef, 'another' for @out;
like $r[$out]{headers}{'retry-after'}, qr/^\d+$/, 'which says when to come back';
is +($si->pg('SELECT count(*) FROM turn'))[0], 4, 'of what was refused nothing is stored';

# The one more of a conversation that waits counts too, and a retry is none.
is_problem $si->json(POST => "/v1/conversations/$chats[$in[0]]/turns", { input => 'x' }), 429, 'too_many_turns', undef, 'one that would wait';
my $again = $si->json(POST => "/v1/conversations/$chats[$in[0]]/turns", { input => 'x' }, { Prefer => 'respond-async', 'Idempotency-Key' => "k-$chats[$in[0]]" });
my ($id) = $r[$in[0]]{body} =~ /"id":"([^"]+)"/;
is $again->{status}, 202, 'a retry is answered';
is $again->{json}{id}, $id, 'with the turn it has made';
like post_turn($other, conversation($other), 'x')->{state}, qr{^(?:queued|running)$}, 'another user has their own';

is $si->json(POST => "/v1/turns/$id/cancel")->{status}, 200, 'one ends';
my $next = post_turn($si, $chats[$out], 'x', { 'Idempotency-Key' => "k-$chats[$out]" });
ok $next->{id}, 'and another begins';
is_problem $si->json(POST => "/v1/conversations/$chats[$out[1]]/turns", { input => 'x' }), 429, 'too_many_turns', undef, 'which makes four again';
done_testing;
