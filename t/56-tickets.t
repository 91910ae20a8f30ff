# One-use tickets: what EventSource and WebSocket put into the address. Who gets in with one, once, and that no log shows it.
use strict;
use warnings;
use lib 't/lib';
use Digest::SHA ();
use File::Temp ();
use SI::Edge;
use SI::Model;
use SI::Test;
use SI::Test::Api;
use SI::Test::Jwt;
use SI::Test::Socket;
use Test::More;

my $dir = File::Temp::tempdir('si-tickets-XXXXXX', TMPDIR => 1, CLEANUP => 1);
chmod 0755, $dir;
my $idp = SI::Test::Jwt->new($dir);
$idp->add('e1', 'ES256')->write("$dir/keys.json");
open my $fh, '>', "$dir/si-locations.conf" or die $!;
print $fh "si_auth jwt key;\nsi_auth_jwt issuer=https://id.example audience=si tenant=acme leeway=0s;\nsi_auth_jwt_keys file=$dir/keys.json;\n",
    "access_log $dir/combined.log combined;\naccess_log $dir/access.log si;\n", slurp(root() . '/conf/si-locations.conf') =~ s/^ *si_limit[a-z_]* .*\n//mgr;
close $fh;

my $model = SI::Model->start;
my $si = SI::Test->start(model => $model, workers => 2, http2 => 1, nginx => "include $dir/si-locations.conf;si_stream_heartbeat 1s");
my $far = $si->node(2, nginx => '', http2_port => 0, config => "auth: { ticket: 7s, cache: 0s }\n");
my ($ann_key, $eve_key) = (create_key($si, 'acme', 'ann'), create_key($si, 'umbrella', 'eve'));
my $ann = member($si, $ann_key);
my $conv = conversation($ann);
my $events = "/v1/conversations/$conv/events";
my @made;           # every ticket of this test

sub ticket {
    my ($who, $path, $headers) = @_;
    my $r = $who->json(POST => '/v1/tickets', { path => $path }, $headers);
    die "POST /v1/tickets: $r->{status} $r->{body}\n" if $r->{status} != 201;
    push @made, $r->{json}{ticket};
    return $r->{json}{ticket};
}

# A stream that is asked for with a ticket alone; its status.
sub open_with { my ($node, $path, $ticket, $headers) = @_; return SI::Test::Stream->new(port => $node->port, path => $path . ($path =~ /\?/ ? '&' : '?') . "ticket=$ticket", headers => $headers || {}) }
sub status { my $s = open_with(@_); $s->head; $s->close; return $s->status }
sub refused {
    my ($name, @how) = @_;
    my $s = open_with(@how);
    $s->head;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is_problem { status => $s->status, headers => $s->headers, body => $s->body, complete => 1 }, 401, 'invalid_ticket', undef, $name;
}

subtest 'made' => sub {
    my $r = $ann->json(POST => '/v1/tickets', { path => $events }, { Origin => 'https://app.example.com' });
    is $r->{status}, 201, 'a ticket';
    push @made, my $t = $r->{json}{ticket};
    like $t, qr/^st_si_[0-9A-Za-z]{46}$/, 'its form';
    is_deeply [@{ $r->{json} }{qw(path origin)}], [$events, 'https://app.example.com'], 'what it is for';
    is $r->{headers}{'cache-control'}, 'no-store', 'which nobody keeps';
    is_deeply [$si->pg("SELECT encode(hash, 'hex'), key_id IS NOT NULL, round(extract(epoch FROM expires_at - now()))::int BETWEEN 40 AND 60 FROM ticket")],
        [[Digest::SHA::sha256_hex($t), 't', 't']], 'the database has its digest, and a minute';
    is +($si->pg("SELECT count(*) FROM ticket WHERE ticket::text LIKE '%" . substr($t, 6, 30) . "%'"))[0], 0, 'not itself';
    for ('/v1/conversations', "/v1/conversations/$conv", '/v1/conversations/x/events', "$events?from=start", "$events/", 'events', 'https://x/v1/events', '/v1/tickets', '/v1/keys', '') {
        is_problem $ann->json(POST => '/v1/tickets', { path => $_ }), 422, 'invalid_field', 'path', "for \"$_\" there is none";
    }
    is_problem $ann->json(POST => '/v1/tickets', {}), 422, 'invalid_field', 'path', 'nor for nothing';
    is_problem $ann->json(POST => '/v1/tickets', { path => $events, life => 9 }), 422, 'invalid_field', 'life', 'an unknown field';
    is_problem $ann->json(POST => '/v1/tickets', { path => $events }, { Origin => 'https://' . 'x' x 300 }), 422, 'invalid_field', 'Origin', 'a long origin';
    is_problem $si->http(POST => '/v1/tickets', {}, "{\"path\":\"$events\"}"), 401, 'unauthorized', undef, 'nobody gets one';
    is_problem $si->http(POST => '/v1/tickets?ticket=' . ticket($ann, $events), {}, "{\"path\":\"$events\"}"), 401, 'invalid_ticket', undef, 'nor whoever has one';
    $si->pg("UPDATE ticket SET expires_at = now() - interval '1 second'");
    ticket($ann, $events);
    is +($si->pg('SELECT count(*) FROM ticket'))[0], 1, 'those that have expired go with the next one';
};

subtest 'used once' => sub {
    my $t = ticket($ann, $events);
    my $s = open_with($si, "$events?from=start", $t);
    is $s->head->{status}, 200, 'a stream';
    my $turn = run_turn($ann, $conv, 'hello');
    is $s->wait_event('turn.completed')->{data}{turn}, $turn->{id}, 'its events';
    refused('a second time', $si, $events, $t);
    refused('nor at the other node', $far, $events, $t);
    $t = ticket(member($far, $ann_key), $events);
    is status($far, $events, $t), 200, 'one of the other node';
    refused('the second time here', $si, $events, $t);
    is status($far, $events, ticket($ann, $events), { 'Last-Event-ID' => '1.1' }), 200, 'one of here is good there, with an id to go on from';
    is status($si, $events, ticket($ann, $events), { Authorization => 'Bearer none' }), 200, 'what else may be a credential does not count';
    refused('neither does a good one', $si, $events, $t, { Authorization => "Bearer $ann_key" });
    is status($si, "/v1/turns/$turn->{id}/events", ticket($ann, "/v1/turns/$turn->{id}/events")), 200, 'the stream of a turn';
    # The worker that has the feed is often another one than the first that is asked: the edge sends the call twice.
    is_deeply [map { status($si, '/v1/events', ticket($ann, '/v1/events')) } 1 .. 8], [(200) x 8], 'a call that moves uses one ticket';
    my $many = ticket($ann, $events);
    my @all = map { open_with($_ % 2 ? $si : $far, $events, $many) } 1 .. 24;
    my %status;
    $status{ $_->head->{status} }++ for @all;
    $_->close for @all;
    is_deeply \%status, { 200 => 1, 401 => 23 }, 'of many at once at both nodes one gets in';
};

subtest 'for nothing else' => sub {
    my $t = ticket($ann, $events);
    my $other = conversation($ann);
    refused('another conversation', $si, "/v1/conversations/$other/events", $t);
    refused('another route', $si, "/v1/conversations/$conv/messages", $t);
    refused('all events', $si, '/v1/events', $t);
    is_problem $si->http(POST => "/v1/conversations/$conv/turns?ticket=$t", {}, '{"input":"x"}'), 401, 'invalid_ticket', undef, 'a turn';
    is $si->http(HEAD => "$events?ticket=$t")->{status}, 401, 'HEAD';
    refused('a changed one', $si, $events, substr($t, 0, 20) . ($t =~ /^.{20}A/ ? 'B' : 'A') . substr $t, 21);
    refused("\"$_\"", $si, $events, $_) for 'x', $ann_key, 'st_si_', $t . 'A', 'x' x 900, '%00', "$t%20";
    is status($si, $events, $t), 200, 'all of which does not use it up';
    is status($si, $events, ''), 401, 'an empty one is none';
    refused('eve, whose tenant has no such conversation' . '', $si, $events, ticket(member($si, $eve_key), '/v1/events'));
    is status($si, $events, ticket(member($si, $eve_key), $events)), 404, 'with a ticket for it she finds nothing';
    my @t = map { ticket($ann, $events) } 1 .. 2;
    is status($si, $events, "$t[0]&ticket=$t[1]"), 200, 'of two the first counts';
    is status($si, $events, $t[1]), 200, 'and the other is good still';
};

subtest 'the origin' => sub {
    my $app = 'https://app.example.com';
    my $t = ticket($ann, $events, { Origin => $app });
    for ('https://evil.example', "$app.evil.example", 'https://x.app.example.com', 'http://app.example.com', "$app:8443", "$app/", 'null', '', 'https://APP.example.com') {
        refused("from \"$_\"", $si, $events, $t, { Origin => $_ });
    }
    refused("$_, without an Origin", $si, $events, $t, { 'Sec-Fetch-Site' => $_ }) for qw(cross-site same-site none);
    is status($si, $events, $t, { Origin => $app, 'Sec-Fetch-Site' => 'cross-site' }), 200, 'from its own';
    is status($si, $events, ticket($ann, $events, { Origin => $app }), { 'Sec-Fetch-Site' => 'same-origin' }), 200, 'a page of this server sends no Origin with GET';
    is status($si, $events, ticket($ann, $events, { Origin => $app })), 200, 'nor does what is no browser, or an old one';
    is status($si, $events, ticket($ann, $events), { Origin => $_ }), 200, "one that was made without an origin is good for $_" for $app, 'null';
};

subtest 'until when' => sub {
    my $t = ticket($ann, $events);
    $si->pg("UPDATE ticket SET expires_at = now() WHERE hash = sha256('$t')");
    refused('one that has expired', $si, $events, $t);
    $t = ticket(member($far, $ann_key), $events);
    is +($si->pg("SELECT extract(epoch FROM expires_at - now()) BETWEEN 0 AND 7 FROM ticket WHERE hash = sha256('$t')"))[0], 't', 'auth.ticket says how long';
    my $key = create_key($si, 'acme', 'ann');
    my ($id) = $si->pg("SELECT key_id FROM api_key WHERE hash = sha256('$key')");
    my $socket = SI::Test::Socket->new(port => $si->port, path => '/v1/socket?ticket=' . ticket(member($si, $key), '/v1/socket'));
    is $socket->subscribe($conv)->{status}, 200, 'a WebSocket';
    $t = ticket(member($si, $key), $events);
    my @open = map { open_with($_, $events, ticket(member($si, $key), $events)) } $si, $far;
    is $_->head->{status}, 200, 'a stream at each node' for @open;
    is member($si, $key)->json(DELETE => "/v1/keys/$id")->{status}, 204, 'the key is revoked';
    refused('then its tickets are not good', $si, $events, $t);
    is $socket->close_code, 1008, 'the WebSocket is closed';
    ok $_->wait_event('auth.expired'), 'and so are the streams' for @open;
    $key = create_key($si, 'acme', 'ann');
    my $ends = ticket(member($si, $key), $events);
    $si->pg("UPDATE api_key SET expires_at = now() + interval '3 seconds' WHERE hash = sha256('$key')");
    my $s = open_with($si, $events, $ends);
    ok $s->wait_event('auth.expired'), 'a stream ends with the key that its ticket came from';
    $t = ticket($ann, $events);
    $si->pg("UPDATE app_user SET status = 'disabled' WHERE name = 'ann'");
    refused('one of a user who is disabled', $si, $events, $t);
    $si->pg("UPDATE app_user SET status = 'active' WHERE name = 'ann'");
};

subtest 'of a token' => sub {
    my $token = $idp->token({ iss => 'https://id.example', sub => 'bo', aud => 'si', exp => time + 4 }, kid => 'e1');
    my %bearer = (Authorization => "Bearer $token");
    my $bo = conversation($si, {}, \%bearer);
    my $path = "/v1/conversations/$bo/events";
    my $s = open_with($si, $path, ticket($si, $path, \%bearer));
    is $s->head->{status}, 200, 'a stream';
    is +($si->pg('SELECT count(*) FROM ticket WHERE key_id IS NULL AND credential_ends = expires_at'))[0], 1, 'a ticket ends with its token at the latest';
    ok $s->wait_event('auth.expired'), 'and so does the stream';
    poll_until { $s->ended } undef, 'the end of the stream';
};

subtest 'the edge' => sub {
    my $edge = SI::Edge->new(http => 'si_limit_zone $remote_addr zone=failures:64k rate=1r/m burst=2;', location => "si_limit_failures zone=failures;\nsi_auth jwt;\nsi_auth_jwt issuer=https://id.example audience=si tenant=acme;\nsi_auth_jwt_keys file=$dir/keys.json;");
    my $w = $edge->worker(0);
    $edge->start;
    $w->wait_link;
    my $ask = sub {
        my ($path, $head) = @_;
        my $c = $edge->get($path, head => $head || '');
        my $call = $w->call;
        $call->head(204)->end;
        $c->wait_head;
        return $call;
    };
    my $call = $ask->('/v1/events?a=ticket=b&Ticket=st_si_secret&b&ticket=two&xticket=c', "Referer: https://t/?x&ticket=st_si_secret#ticket=y&ticket=st_si_secret\r\n");
    is $call->{ticket}, 'st_si_secret', 'takes the first ticket out';
    is $call->{args}, 'a=ticket=b&Ticket=************&b&ticket=***&xticket=c', 'and hides all';
    is $call->{headers}{referer}, 'https://t/?x&ticket=************#ticket=y&ticket=************', 'in the Referer, too';
    is length $ask->('/v1/events?ticket=' . 'x' x 500)->{ticket}, 64, 'a long one is cut';
    my $token = $idp->token({ iss => 'https://id.example', sub => 'bo', aud => 'si', exp => time + 300 }, kid => 'e1');
    $call = $ask->('/v1/events?ticket=x', "Authorization: Bearer $token\r\n");
    is_deeply [@$call{qw(ticket subject)}], ['x', undef], 'next to a ticket no token is looked at';
    $call = $ask->('/v1/events?ticket=&x', "Authorization: Bearer $token\r\n");
    is_deeply [@$call{qw(ticket subject)}], [undef, 'bo'], 'an empty one is none';
    cmp_ok abs(unpack('Q<', $call->{until}) / 1000 - time - 330), '<=', 30, 'the worker hears when a token ends, leeway included';
    for (1 .. 3) {
        my $c = $edge->get('/v1/events?ticket=used', head => '');
        $w->call->head(401)->end;
        $c->wait_head;
        is $c->status, 401, 'a ticket that is refused';
    }
    is $ask->('/v1/events?ticket=other')->{ticket}, 'other', 'counts as no failure of the address: EventSource sends a used one after each break';
    my $c = $edge->get('/v1/events?xticket=x', head => '');
    $c->wait_head;
    is $c->status, 401, 'another argument is no ticket';
    $edge->stop;
};

subtest 'Redis and Postgres away' => sub {
    $si->kill_redis;
    is status($_, $events, ticket($ann, $events)), 200, 'without Redis as ever' for $si;
    $si->start_redis;
    my $t = ticket($ann, $events);
    my @frozen = $si->postgres_pids;
    kill STOP => @frozen;
    my $s = open_with($si, $events, $t);
    my $p = { status => $s->head->{status}, headers => $s->headers, body => $s->body, complete => 1 };
    kill CONT => @frozen;
    is_problem $p, 503, 'store_unavailable', undef, 'without Postgres nobody is refused';
    poll_until { status($si, $events, ticket($ann, $events)) == 200 } undef, 'Postgres';
};

subtest 'no log shows one' => sub {
    $si->allow(qr/client intended to send too large body/);
    my $t = ticket($ann, $events);
    # What nginx itself has to say of a request, it says with the whole request line and the Referer.
    my $big = $si->http(GET => "$events?from=start&ticket=$t", { Referer => "http://127.0.0.1/?ticket=$t", 'Content-Length' => 9 << 20 });
    is $big->{status}, 413, 'a request that nginx refuses';
    my $pid = open my $h2, '-|', 'curl', '-sN', '-m', 60, '--http2-prior-knowledge', '-H', "Referer: http://x/?ticket=$t", $si->http2_url . "$events?ticket=$t" or die "curl: $!";
    like scalar(<$h2>), qr/^retry: /, 'a stream over HTTP/2';
    kill TERM => $pid;
    close $h2;
    is $si->http(GET => "/?ticket=$t")->{status}, 200, 'the console';
    is $si->http(GET => "/nothing?ticket=$t")->{status}, 404, 'nothing';
    poll_until { slurp("$dir/combined.log") =~ m{"GET /nothing\?ticket=\*{52} HTTP/1.1" 404} } undef, 'the access log';
    ok poll_until { slurp("$dir/combined.log") =~ m{"GET \Q$events\E\?ticket=\*{52} HTTP/2\.0" 200 \d+ "http://x/\?ticket=\*{52}"} }, 'a request line and a Referer, with asterisks';
    like slurp($si->dir . '/logs/nginx.log'), qr{too large body.*request: "GET [^"]*&ticket=\*{52} HTTP/1.1".*referrer: "http://127.0.0.1/\?ticket=\*{52}"}, 'and an entry of the error log';
    cmp_ok scalar(@made), '>', 30, 'tickets were made';
    my @logs = (glob($si->dir . '/logs/*'), glob($far->dir . '/logs/*'), glob("$dir/*.log"));
    cmp_ok scalar(@logs), '>=', 10, 'logs';
    my $secret = join '|', map { substr $_, 6, 40 } @made;
    for my $log (@logs) {
        unlike slurp($log), qr/$secret|st_si_/, $log =~ s{.*/}{}r;
    }
};

done_testing;
