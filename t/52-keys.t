# API keys: what is asked of Postgres, what is known without it, and how soon a revoked key is refused everywhere.
use strict;
use warnings;
use lib 't/lib';
use Digest::SHA ();
use Test::More;
use SI::Model;
use SI::Test;
use SI::Test::Api;

my $model = SI::Model->start;
my $si = SI::Test->start(model => $model);
my $b = $si->node(2, config => "auth: { cache: 100ms, negative_cache: 100ms }\n");

# A route that needs a key and no query: 404 is the answer to who may come in.
my $door = '/v1/conversations/no-id';

# A key that nobody has, of the right form.
sub stranger {
    my @digit = (0 .. 9, 'A' .. 'Z', 'a' .. 'z');
    my $body = 'sk_si_' . join '', map { $digit[rand 62] } 1 .. 40;
    my ($v, $sum) = (unpack('N', Digest::SHA::sha256($body)), '');
    for (1 .. 6) { $sum = $digit[$v % 62] . $sum; $v = int($v / 62) }
    return $body . $sum;
}

# Of one node's worker.
sub worker { my $node = shift; return poll_until { my ($w) = @{ ($node->status || {})->{workers} || [] }; $w && $w->{keys} && $w } undef, 'the status' }
sub asked { return worker($_[0])->{keys}{asked} }

# The same at another node.
sub at { my ($node, $key) = @_; return member($node, $key) }

subtest 'what is no key' => sub {
    my $before = asked($si);
    my $key = $si->key;
    (my $typo = $key) =~ s/(.)$/$1 eq 'A' ? 'B' : 'A'/e;
    is_problem at($si, $_)->json(GET => $door), 401, 'unauthorized', undef, $_ for $typo, substr($key, 0, -1), "${key}A", 'sk_si_', 'x', 'sk_si_' . '0' x 46;
    is asked($si), $before, 'nothing was asked of Postgres';
};

subtest 'one question' => sub {
    my $key = create_key($si, 'keys', 'ann');
    my $before = asked($si);
    is at($si, $key)->json(GET => $door)->{status}, 404, 'a key is known' for 1 .. 20;
    is asked($si), $before + 1, 'by one question';
    my $nobody = at($si, stranger());
    is_problem $nobody->json(GET => $door), 401, 'unauthorized', undef, 'a key that nobody has' for 1 .. 3;
    is asked($si), $before + 2, 'is asked about once, too';

    for (['a known', at($si, create_key($si, 'keys', 'ann')), 404], ['an unknown', at($si, stranger()), 401]) {
        my ($what, $who, $status) = @$_;
        $before = asked($si);
        my $calls = worker($si)->{calls};
        my $lock = $si->lock('api_key');
        my @all = map { $who->stream(GET => $door) } 1 .. 100;
        poll_until { worker($si)->{calls} >= $calls + 100 } undef, 'all calls at the worker';
        $si->unlock($lock);
        my %status;
        $status{ $_->head->{status} }++ for @all;
        is_deeply \%status, { $status => 100 }, "$what key, a hundred times at once";
        is asked($si), $before + 1, 'is one question';
    }
};

subtest 'until when' => sub {
    my $key = create_key($si, 'keys', 'bob');
    is at($_, $key)->json(GET => $door)->{status}, 404, 'a key' for $si, $b;
    $si->pg("UPDATE app_user SET status = 'disabled' WHERE name = 'bob'");
    poll_until { at($b, $key)->json(GET => $door)->{status} == 401 } undef, 'the short cache of the other node';
    is at($si, $key)->json(GET => $door)->{status}, 404, 'is asked about no sooner than the configuration says';
    $si->pg("UPDATE app_user SET status = 'active' WHERE name = 'bob'");
    poll_until { at($b, $key)->json(GET => $door)->{status} == 404 } undef, 'the short negative cache';
    my $short = create_key($si, 'keys', 'bob');
    $si->pg("UPDATE api_key SET expires_at = now() + interval '2 seconds' WHERE hash = decode('" . Digest::SHA::sha256_hex($short) . "', 'hex')");
    is at($si, $short)->json(GET => $door)->{status}, 404, 'one that expires';
    poll_until { at($si, $short)->json(GET => $door)->{status} == 401 } undef, 'its end';
    pass 'ends when it says, whatever is cached';
};

subtest 'Postgres hangs' => sub {
    my ($key, $new) = map { create_key($si, 'keys', $_) } 'carl', 'dora';
    is at($_, $key)->json(GET => $door)->{status}, 404, 'a key that is known' for $si, $b;
    my @frozen = $si->postgres_pids;
    kill STOP => @frozen;
    is at($si, $key)->json(GET => $door)->{status}, 404, 'goes on';
    is at($b, $key)->json(GET => $door)->{status}, 404, 'also when it is to be asked about again' for 1 .. 3;
    is_problem at($_, $new)->json(GET => $door), 503, 'store_unavailable', undef, 'one that was not used before' for $si, $b;
    is_problem at($si, stranger())->json(GET => $door), 503, 'store_unavailable', undef, 'and one that nobody has';
    is_problem at($si, 'sk_si_x')->json(GET => $door), 401, 'unauthorized', undef, 'what is no key is none';
    kill CONT => @frozen;
    poll_until { at($_, $new)->json(GET => $door)->{status} == 404 } undef, 'Postgres' for $si, $b;
    is_problem at($_, stranger())->json(GET => $door), 401, 'unauthorized', undef, 'all is as before' for $si, $b;
};

done_testing;
