# API keys: what is asked of Postgres, what is known without it, and how soon a revoked key is refused everywhere.
use strict;
use warnings;
use lib 't/lib';
use Digest::SHA ();
use JSON::PP ();
use Test::More;
use SI::Model;
use SI::Test;
use SI::Test::Api;
use SI::Test::Socket;

my $model = SI::Model->start;
my $si = SI::Test->start(model => $model);
my $b = $si->node(2, config => "auth: { cache: 100ms, negative_cache: 100ms }\n");

# A route that needs a key and no query: 404 is the answer to who may come in.
my $door = '/v1/conversations/no-id';

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

my $admin = at($si, create_key($si, 'keys', 'root', '--scopes', 'admin'));

# The door of a node is closed to a key; how long that took, in ms.
sub closed { my ($node, $key, $from) = @_; poll_until { at($node, $key)->json(GET => $door)->{status} == 401 } undef, 'the end of a key'; return now_ms() - $from }

subtest 'made over HTTP' => sub {
    my $r = $admin->json(POST => '/v1/keys', { name => "for \x{1F511}", user => 'eva', expires => '2100-01-31T01:00:00.5+01:00' });
    is $r->{status}, 201, 'a key';
    my $k = $r->{json};
    is $r->{headers}{location}, "/v1/keys/$k->{id}", 'its place';
    is_deeply [@$k{qw(name user scopes expires revoked)}], ["for \x{1F511}", 'eva', [], '2100-01-31T00:00:00.000Z', undef], 'as it was asked for';
    is $k->{hint}, substr($k->{key}, 0, 10) . "\x{2026}" . substr($k->{key}, -4), 'its hint';
    is at($b, $k->{key})->json(POST => '/v1/conversations', {})->{status}, 201, 'it is good on both nodes';
    is +($si->pg("SELECT count(*) FROM api_key WHERE api_key::text LIKE '%" . substr($k->{key}, 10, 30) . "%'"))[0], 0, 'and kept nowhere';
    my $eva = at($si, $k->{key});
    is_problem $eva->json(POST => '/v1/keys', {}), 403, 'forbidden', undef, 'without the scope it makes none';
    is_deeply [map { $_->{id} } @{ $eva->json(GET => '/v1/keys')->{json}{data} }], [$k->{id}], 'sees the own ones';
    my @all = map { $_->{user} } @{ $admin->json(GET => '/v1/keys')->{json}{data} };
    cmp_ok scalar(@all), '>=', 6, 'an admin sees those of the tenant';
    is $all[0], 'eva', 'the newest first';
    my $page = $admin->json(GET => '/v1/keys?limit=2')->{json};
    my $next = $admin->json(GET => "/v1/keys?limit=2&cursor=$page->{next}")->{json};
    is_deeply [map { $_->{user} } @{ $page->{data} }, @{ $next->{data} }], [@all[0 .. 3]], 'page by page';
    unlike $admin->json(GET => '/v1/keys')->{body}, qr/"key":|\Q@{[ substr $k->{key}, 10, 30 ]}/, 'no key itself';
    is $admin->json(POST => '/v1/keys', undef)->{json}{user}, 'root', 'without a body it is one for oneself';
    my $other = $admin->json(POST => '/v1/keys', { scopes => ['admin'] })->{json};
    is at($si, $other->{key})->json(POST => '/v1/keys', {})->{status}, 201, 'one with the scope makes others';
    is $admin->json(POST => '/v1/keys', {}, { 'Idempotency-Key' => 'once' })->{status}, 201, 'with an idempotency key';
    is_problem $admin->json(POST => '/v1/keys', {}, { 'Idempotency-Key' => 'once' }), 409, 'key_made', 'Idempotency-Key', 'it is made once';
    for (['scopes', 'admin'], ['scopes', ['root']], ['scopes', [1]], ['user', ''], ['user', 'x' x 201], ['name', 1], ['expires', '2001-01-01T00:00:00Z'], ['expires', '2100-02-30T00:00:00Z'],
        ['expires', '2100-01-01'], ['expires', '2100-01-01T00:00:00'], ['expires', '2100-01-01T00:00:00+1:00'], ['expires', '2100-13-01T00:00:00Z'], ['expires', 4102444800], ['key', 'x'])
    {
        is_problem $admin->json(POST => '/v1/keys', { $_->[0] => $_->[1] }), 422, 'invalid_field', $_->[0], "$_->[0] " . JSON::PP->new->allow_nonref->encode($_->[1]);
    }
};

subtest 'revoked' => sub {
    my @key = map { $admin->json(POST => '/v1/keys', { user => 'fay' })->{json} } 1 .. 4;
    my $far = $si->node(3);
    is at($_, $key[0]{key})->json(GET => $door)->{status}, 404, 'a key is known' for $si, $far;
    my $socket = SI::Test::Socket->new(port => $far->port, key => $key[0]{key});
    my $from = now_ms();
    is $admin->json(DELETE => "/v1/keys/$key[0]{id}")->{status}, 204, 'it is revoked';
    cmp_ok closed($si, $key[0]{key}, $from), '<', 1000, 'and refused here';
    cmp_ok closed($far, $key[0]{key}, $from), '<', 1000, 'and there';
    is $socket->close_code, 1008, 'its WebSocket is closed';
    is $admin->json(DELETE => "/v1/keys/$key[0]{id}")->{status}, 204, 'a second time is no harm';
    ok +(grep { $_->{id} eq $key[0]{id} && $_->{revoked} } @{ $admin->json(GET => '/v1/keys')->{json}{data} }), 'the list says so';
    my $third = create_key($si, 'dev', 'dev', '--name', 'of the command line');
    is at($_, $third)->json(GET => $door)->{status}, 404, 'a third is known to a node' for $si, $b;
    my ($id) = sictl($si, 'key', 'list', 'dev') =~ /^(\S+) .* of the command line$/m;
    like sictl($si, 'key', 'revoke', 'dev', $id), qr/^revoked \Q$id\E$/m, 'it is revoked from the command line';
    poll_until { at($_, $third)->json(GET => $door)->{status} == 401 } 1, 'a node to refuse it' for $si, $b;
    is_problem $admin->json(DELETE => '/v1/keys/01936400-0000-7000-8000-000000000000'), 404, 'not_found', undef, 'one that is not there';
    is at($si, $key[1]{key})->json(DELETE => "/v1/keys/$key[1]{id}")->{status}, 204, 'a user revokes an own one';
    closed($_, $key[1]{key}, 0) for $si, $far;
    is_problem at($si, $key[2]{key})->json(DELETE => '/v1/keys/' . $admin->json(GET => '/v1/keys')->{json}{data}[-1]{id}), 404, 'not_found', undef, 'and no other';

    # What is said while Redis is away is not heard.
    is at($_, $key[3]{key})->json(GET => $door)->{status}, 404, 'another one' for $si, $far;
    $si->kill_redis;
    poll_until { !worker($_)->{redis} } undef, 'both nodes without Redis' for $si, $far;
    is $admin->json(DELETE => "/v1/keys/$key[3]{id}")->{status}, 204, 'is revoked while Redis is away';
    closed($si, $key[3]{key}, 0);
    is at($far, $key[3]{key})->json(GET => $door)->{status}, 404, 'which the other node has not heard';
    $si->start_redis;
    closed($far, $key[3]{key}, 0);
    pass 'but asks about when Redis is back';
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
