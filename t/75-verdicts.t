# API keys that nginx knows, on two nodes: who asks Postgres, whom one worker's word reaches, and that a key which is revoked
# gets in nowhere, whatever was not heard.
use strict;
use warnings;
use lib 't/lib';
use SI::Test;
use SI::Test::Api;
use SI::Test::Socket;
use Test::More;

my $si = SI::Test->start(workers => 2, nginx_workers => 2);
# A node that forgets a key after a moment.
my $brief = $si->node(2, config => "auth: { cache: 2s, negative_cache: 300ms, grace: 60s }\n");

# A route that needs a key and no query: 404 is the answer to who may come in.
sub door { my ($node, $key) = @_; return member($node, $key)->json(GET => '/v1/conversations/no-id') }
sub status { my $node = shift; return poll_until { my $s = $node->status; $s && !(grep { !$_->{keys} } @{ $s->{workers} }) && $s } undef, 'the status' }
sub asked { my $n = 0; $n += $_->{keys}{asked} for @{ status($_[0])->{workers} }; return $n }
sub edge { return status($_[0])->{edge}{keys} }
sub closed { my ($node, $key, $from) = @_; poll_until { door($node, $key)->{status} == 401 } undef, 'the end of a key'; return now_ms() - $from }

my $admin = member($si, create_key($si, 'acme', 'root', '--scopes', 'admin'));
sub new_key { return $admin->json(POST => '/v1/keys', { user => 'ann', @_ })->{json} }

subtest 'one question for a machine' => sub {
    my $key = create_key($si, 'acme', 'bob');
    my ($asked, $was) = (asked($si), edge($si));
    my %answer;
    $answer{ door($si, $key)->{status} }++ for 1 .. 40;
    is_deeply \%answer, { 404 => 40 }, 'a key gets in forty times';
    is asked($si), $asked + 1, 'two workers and two nginx processes ask Postgres once';
    my $now = edge($si);
    is_deeply [$now->{known} - $was->{known}, $now->{unknown} - $was->{unknown}], [39, 1], 'nginx did not know it once';

    my $nobody = stranger();
    is_problem door($si, $nobody), 401, 'unauthorized', undef, 'a key that nobody has' for 1 .. 20;
    is asked($si), $asked + 2, 'is asked about once, too';
    is edge($si)->{refused} - $now->{refused}, 19, 'and then refused in nginx';
    is door($si, $nobody)->{headers}{'www-authenticate'}, 'Bearer realm="si"', 'with the same challenge';
    poll_until { my $n = asked($brief); door($brief, $nobody); asked($brief) > $n } undef, 'another question after negative_cache' for 1 .. 2;
};

subtest 'who it is goes along' => sub {
    my %of = map { $_ => member($si, create_key($si, $_, 'ann')) } qw(acme umbrella);
    my %id = map { $_ => $of{$_}->json(POST => '/v1/conversations', {})->{json}{id} } sort keys %of;
    for (1 .. 10) {
        is $of{acme}->json(GET => "/v1/conversations/$id{acme}")->{status}, 200, 'an own conversation';
        is $of{acme}->json(GET => "/v1/conversations/$id{umbrella}")->{status}, 404, 'and none of another tenant';
        is_deeply [map { $_->{id} } @{ $of{umbrella}->json(GET => '/v1/conversations')->{json}{data} }], [$id{umbrella}], 'nor in its list';
    }
    is_problem $of{acme}->json(POST => '/v1/keys', {}), 403, 'forbidden', undef, 'scopes are those of the key';
    is $admin->json(POST => '/v1/keys', {})->{status}, 201, 'whose key has the scope may' for 1 .. 5;
    my ($tenant) = $si->pg("SELECT tenant_id FROM tenant WHERE name = 'acme'");
    # A client cannot say so itself.
    my $forged = $si->http(GET => '/v1/conversations', { Authorization => 'Bearer ' . stranger(), 'X-Si-Tenant' => $tenant });
    is $forged->{status}, 401, 'nobody else says who he is';
    is $of{acme}->stream(GET => "/v1/conversations/$id{acme}/events")->head->{status}, 200, 'streams';
    ok +SI::Test::Socket->new(port => $si->port, key => $of{acme}->key), 'and WebSockets begin likewise';
};

subtest 'revoked' => sub {
    my @key = map { new_key() } 1 .. 2;
    is door($_, $key[0]{key})->{status}, 404, 'a key is known' for ($si, $brief) x 6;
    my $from = now_ms();
    is $admin->json(DELETE => "/v1/keys/$key[0]{id}")->{status}, 204, 'it is revoked';
    cmp_ok closed($_, $key[0]{key}, $from), '<', 1000, 'and refused everywhere within a second' for $si, $brief;
    is door($_, $key[0]{key})->{status}, 401, 'for good, whoever is asked' for ($si, $brief) x 6;

    is door($_, $key[1]{key})->{status}, 404, 'another one' for ($si, $brief) x 6;
    my ($master) = $brief->master_pid;
    my @workers = $brief->worker_pids;
    kill STOP => $master;
    $brief->kill9($_) for @workers;
    poll_until { !@{ $brief->status->{edge}{links} // [1] } || !grep { $_->{state} eq 'up' } @{ $brief->status->{edge}{links} } } undef, 'a node without links';
    is $admin->json(DELETE => "/v1/keys/$key[1]{id}")->{status}, 204, 'is revoked while a node has no worker that hears it';
    kill CONT => $master;
    poll_until { $brief->http(GET => '/readyz')->{status} == 200 } undef, 'new workers';
    is door($brief, $key[1]{key})->{status}, 401, 'which do not take what nginx has kept' for 1 .. 6;
};

subtest 'a message that is lost' => sub {
    my $key = new_key();
    is door($_, $key->{key})->{status}, 404, 'a key is known' for ($si, $brief) x 4;
    $si->kill_redis;
    for my $node ($si, $brief) { poll_until { !grep { $_->{redis} } @{ status($node)->{workers} } } undef, 'both nodes without Redis' }
    is $admin->json(DELETE => "/v1/keys/$key->{id}")->{status}, 204, 'it is revoked while Redis is away';
    my $from = now_ms();
    closed($brief, $key->{key}, $from);
    pass 'the other node refuses it when auth.cache is over';
    is door($brief, $key->{key})->{status}, 401, 'for good' for 1 .. 6;
    $si->start_redis;
    poll_until { !grep { !$_->{redis} } @{ status($si)->{workers} } } undef, 'Redis';
};

subtest 'Postgres is away' => sub {
    my $key = create_key($si, 'acme', 'carl');
    my $new = create_key($si, 'acme', 'dora');
    my $before = asked($si);
    is door($si, $key)->{status}, 404, 'a key is known';
    is asked($si), $before + 1, 'one worker has asked';
    is door($brief, $key)->{status}, 404, 'also where it is soon to be asked about again';
    my @frozen = $si->postgres_pids;
    kill STOP => @frozen;
    is door($si, $key)->{status}, 404, 'it goes on at every worker' for 1 .. 12;
    my $end = now_ms() + 2500;
    my %heard;
    poll_until { $heard{ door($brief, $key)->{status} }++; now_ms() > $end } undef, 'the end of auth.cache';
    is_deeply [keys %heard], [404], 'and there, for auth.grace';
    kill CONT => @frozen;
    poll_until { door($si, $new)->{status} == 404 } undef, 'Postgres';
};

subtest 'a reload of nginx' => sub {
    my $key = create_key($si, 'acme', 'eve');
    is door($si, $key)->{status}, 404, 'a key is known';
    my %was = map { $_ => 1 } $si->nginx_pids;
    kill HUP => $si->nginx_pid;
    poll_until { my @now = $si->nginx_pids; @now == 2 && !grep { $was{$_} } @now } undef, 'new processes';
    my ($asked, $unknown) = (asked($si), edge($si)->{unknown});
    is door($si, $key)->{status}, 404, 'and still is' for 1 .. 6;
    is_deeply [asked($si), edge($si)->{unknown}], [$asked, $unknown], 'nobody is asked';
};

done_testing;
