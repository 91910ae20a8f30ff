# Tokens of an issuer that are revoked before their end: refused at once on two nodes, and by what starts later; what was opened
# with them ends.
use strict;
use warnings;
use lib 't/lib';
use Digest::SHA qw(sha256_hex);
use File::Temp ();
use SI::Edge;
use SI::FakeWorker;
use SI::Test;
use SI::Test::Api;
use SI::Test::Jwt;
use SI::Test::Socket;
use Test::More;

my $TOKENS = 4;         # kind of PUSH
my $ISSUER = 'https://id.example';
my $LAST = "event: auth.expired\ndata: {\"type\":\"auth.expired\"}\n\nretry: 1000\n\n";
my $dir = File::Temp::tempdir('si-revoke-XXXXXX', TMPDIR => 1, CLEANUP => 1);
chmod 0755, $dir;
my $idp = SI::Test::Jwt->new($dir);
$idp->add('e1', 'ES256');
$idp->write("$dir/keys.json", 'e1');
my $number = 0;
my $issued = time - 60;
sub claims { my %c = (iss => $ISSUER, sub => 'anna', aud => 'si', exp => time + 600, iat => $issued, jti => 'id-' . ++$number, 'custom:org' => 'acme', @_); delete $c{$_} for grep { !defined $c{$_} } keys %c; return \%c }
sub token { return $idp->token(claims(@_), kid => 'e1') }
sub bearer { return { Authorization => "Bearer $_[0]" } }
my $directives = "si_auth jwt key; si_auth_jwt issuer=$ISSUER audience=si leeway=0s; si_auth_jwt_keys file=$dir/keys.json; si_auth_claim tenant custom:org; si_auth_claim scopes scope;\n";

# As frame.h says.
sub mark { my ($kind, $tenant, $issuer, $value) = @_; return substr Digest::SHA::sha256(join "\0", $kind, $tenant, $issuer, $value), 0, 8 }
sub entry { my ($mark, $before, $until) = @_; return $mark . pack 'Q<Q<', $before, $until }

subtest 'the edge' => sub {
    my $edge = SI::Edge->new(location => $directives);
    my $w = $edge->worker(0);
    $edge->start;
    my $link = $w->wait_link;
    my $request = sub { my $t = shift; return $edge->get('/x', head => "Authorization: Bearer $t\r\n") };
    my $passes = sub { my ($t, $name) = @_; my $c = $request->($t); my $call = $w->call; $call->head(200, length => 2)->data('ok')->end; $c->wait_whole; is $c->status, 200, $name; return $call };
    my $refused = sub { my ($t, $name) = @_; my $c = $request->($t); $c->wait_whole; is $c->status, 401, $name; like $c->body, qr/"detail":"the token was revoked"/, 'and why' };
    my @t = map { token(sub => $_) } qw(ann ann bob);
    my $call;
    $call = $passes->($_, 'a token') for @t;
    is $call->{marks}, mark('jti', 'acme', $ISSUER, 'id-3') . mark('subject', 'acme', $ISSUER, 'bob') . mark('digest', 'acme', '', sha256_hex($t[2])) . pack('Q<', $issued), 'the worker is told its marks';

    my ($stream, $other) = map { my $c = $request->($_); my $call = $w->call; $call->stream(marks => $call->{marks})->data("retry: 1000\n\n"); $c->wait_body(qr/retry/); $c } @t[0, 2];
    my $late = $request->($t[0]);
    my $late_call = $w->call;
    my $push = sub { $w->push_frame($link, $TOKENS, join '', @_) };
    my $soon = time + 600;
    $push->(entry(mark('jti', 'umbrella', $ISSUER, 'id-1'), ~0, $soon), entry(mark('jti', 'acme', 'https://other', 'id-1'), ~0, $soon), entry(mark('jti', 'acme', $ISSUER, 'id-1'), ~0, time - 1));
    $passes->($t[0], 'neither another tenant, nor another issuer, nor one whose time has passed makes a difference');
    $push->(entry(mark('jti', 'acme', $ISSUER, 'id-1'), ~0, $soon));
    ok $stream->wait_whole && $stream->body =~ /\Q$LAST\E\z/, 'a stream of it is told, and ends whole';
    $refused->($t[0], 'a token that was known is refused');
    $refused->($t[0], 'again');
    $late_call->stream(marks => $late_call->{marks})->data("data: c\n\n");
    ok $late->wait_whole && $late->body eq $LAST, 'so is one whose HEAD was under way';
    $passes->($t[1], 'another token of the user is good');
    $push->(entry(mark('subject', 'acme', $ISSUER, 'ann'), $issued, $soon));
    $refused->($t[1], 'until the user is revoked');
    $refused->(token(sub => 'ann'), 'also one that was not seen before');
    $refused->(token(sub => 'ann', iat => undef), 'and one that does not say when it was issued');
    $passes->(token(sub => 'ann', iat => $issued + 1), 'one that was issued later is good');
    $push->(entry(mark('digest', 'acme', '', sha256_hex($t[2])), ~0, $soon));
    ok $other->wait_whole && $other->body =~ /\Q$LAST\E\z/, 'a token that is revoked by its digest';
    $refused->($t[2], 'is refused');
    my $id = '01936400-ABCD-7000-8000-000000000000';
    my $by_id = token(sub => 'eve', 'custom:org' => $id);
    $passes->($by_id, 'a tenant that is named by its id');
    $push->(entry(mark('subject', lc $id, $ISSUER, 'eve'), $issued, $soon));
    $refused->($by_id, 'in letters of either case');

    $push->(entry(mark('digest', 'acme', '', sha256_hex($t[2])), 0, 0), entry(mark('digest', 'acme', '', 'nobody'), 0, 0));
    $passes->($t[2], 'what is taken back is good again');
    $push->(entry(mark('digest', 'acme', '', sha256_hex($t[2])), ~0, $soon));
    $refused->($t[2], 'and may be revoked once more');

    # The table is full; what is over makes room.
    my ($n, $over) = (0, time + 3);
    $push->(map { entry(pack('Q<', ++$n * 0x10001), ~0, $over) } 1 .. 1000) for 1 .. 9;
    SI::Edge::wait_for(sub { $edge->log =~ /si revocations: no room for \d+/ }, 'the table to be full');
    $refused->($t[2], 'what was there stays');
    my $last = token(sub => 'zoe');
    SI::Edge::wait_for(sub {
        $push->(entry(mark('digest', 'acme', '', sha256_hex($last)), ~0, $soon));
        my $c = $request->($last);
        SI::Edge::wait_for(sub { $c->whole || $w->has('OPEN') }, 'an answer or a question');
        $w->call->json('{}') if !$c->whole;
        $c->wait_whole;
        return $c->status == 401;
    }, 'room for one more');
    $refused->($t[2], 'and what was there is there still');

    for (['', 'an empty one'], ['x' x 23, 'one of another length']) {
        $link = $w->wait_link;
        $w->push_frame($link, $TOKENS, $_->[0]);
        SI::Edge::wait_for(sub { $link->{closed} }, 'the end of the link');
        like $edge->log, qr/closed: malformed PUSH/, $_->[1];
    }
    $edge->stop;
};

# --- two nodes ---

open my $conf, '>', "$dir/si-locations.conf" or die $!;
print $conf $directives, 'include ', root(), "/conf/si-locations.conf;\n";
close $conf;
my $here = SI::Test->start(workers => 2, nginx_workers => 2, nginx => "include $dir/si-locations.conf;si_stream_heartbeat 1s", config => "auth: { cache: 1s }\n");
my $there = $here->node(2);
my @both = ($here, $there);
my $admin = member($here, create_key($here, 'acme', 'root', '--scopes', 'admin'));
my $other = member($here, create_key($here, 'umbrella', 'root', '--scopes', 'admin'));

sub status { my ($at, $token) = @_; return $at->http(GET => '/v1/conversations', bearer($token))->{status} }
sub good { my ($token, $name) = @_; is status($_, $token), 200, $name for @both }
sub gone { my ($token, $name) = @_; for (@both) { my $r = $_->http(GET => '/v1/conversations', bearer($token)); is_problem $r, 401, 'invalid_token', undef, $name } }
sub revoke { my ($who, %body) = @_; return $who->json(POST => '/v1/revocations', \%body) }
sub told { my ($s, $what) = @_; $s->wait_event('auth.expired'); my $at = now_ms(); poll_until { $s->pump(0); $s->ended } undef, "the end of $what"; is $s->complete, 1, "$what is told, and ends whole"; return $at }
sub stream { my ($at, $token, $path) = @_; return SI::Test::Stream->new(port => $at->port, path => $path, headers => { Accept => 'text/event-stream', %{ $token ? bearer($token) : {} } }) }

subtest 'what is said wrongly' => sub {
    my %issuer = (issuer => $ISSUER);
    is_problem revoke(member($here, create_key($here, 'acme', 'ann')), %issuer, jti => 'a'), 403, 'forbidden', undef, 'without the scope';
    is_problem revoke($admin, %issuer), 422, 'invalid_field', 'jti', 'nothing to revoke';
    is_problem revoke($admin, %issuer, jti => 'a', subject => 'b'), 422, 'invalid_field', 'subject', 'two things';
    is_problem revoke($admin, jti => 'a'), 422, 'invalid_field', 'issuer', 'no issuer';
    is_problem revoke($admin, %issuer, digest => 'a' x 64), 422, 'invalid_field', 'issuer', 'an issuer of a digest';
    is_problem revoke($admin, digest => 'A' x 64), 422, 'invalid_field', 'digest', 'no digest';
    is_problem revoke($admin, %issuer, jti => 'a' x 256), 422, 'invalid_field', 'jti', 'too long';
    is_problem revoke($admin, %issuer, jti => 'a', expires => '2020-01-01T00:00:00Z'), 422, 'invalid_field', 'expires', 'in the past';
    my $r = revoke($admin, %issuer, jti => 'a', expires => '2999-01-01T00:00:00Z');
    is $r->{status}, 201, 'a good one';
    my ($days) = $here->pg("SELECT round(extract(epoch FROM expires_at - revoked_at) / 86400) FROM token_revocation WHERE value = 'a'");
    is $days, 30, 'counts for 30 days at most';
    revoke($admin, %issuer, jti => 'a');
    is_deeply [$here->pg("SELECT count(*) FROM token_revocation")], [1], 'and the same again is not another one';
};

my @kept;       # tokens that stay revoked
subtest 'one token' => sub {
    my ($one, $two) = map { token(sub => 'dora') } 1 .. 2;
    my $jti = 'id-' . ($number - 1);
    good($_, 'a token') for $one, $two;
    my $chat = $here->json(POST => '/v1/conversations', {}, bearer($one))->{json}{id};
    my $path = "/v1/conversations/$chat/events";
    my %s;
    for (['here', $here], ['there', $there]) {
        my ($where, $at) = @$_;
        $s{"a stream $where"} = stream($at, $one, $path);
        $s{"a feed $where"} = stream($at, $one, '/v1/events');
        my $ticket = $here->json(POST => '/v1/tickets', { path => $path }, bearer($one))->{json}{ticket};
        $s{"a stream by ticket $where"} = stream($at, undef, "$path?ticket=$ticket");
    }
    my @kept_streams = map { stream($_, $two, $path) } @both;
    my @sockets = map { SI::Test::Socket->new(port => $_->port, key => $one) } @both;
    my $ticket = $here->json(POST => '/v1/tickets', { path => $path }, bearer($one))->{json}{ticket};
    is $_->head->{status}, 200, 'a stream is open' for values %s, @kept_streams;
    is revoke($other, issuer => $ISSUER, jti => $jti)->{status}, 201, 'another tenant revokes the same id';
    good($one, 'which is nothing to this one');
    my $from = now_ms();
    is revoke($admin, issuer => $ISSUER, jti => $jti)->{status}, 201, 'the token is revoked';
    my $last = 0;
    for (sort keys %s) { my $at = told($s{$_}, $_); $last = $at if $at > $last }
    cmp_ok $last - $from, '<', 1000, 'all within a second';
    is $_->close_code, 1008, 'and so do WebSockets' for @sockets;
    gone($one, 'nobody comes back');
    is_problem $there->http(GET => "$path?ticket=$ticket"), 401, 'invalid_ticket', undef, 'not with a ticket either';
    good($two, 'another token of the user is good');
    ok !$_->ended, 'and its stream goes on' for @kept_streams;
    push @kept, $one;
};

subtest 'all of a user' => sub {
    my ($old, $foreign) = (token(sub => 'eva'), token(sub => 'eva', 'custom:org' => 'umbrella'));
    good($_, 'a token') for $old, $foreign;
    my @s = map { stream($_, $old, '/v1/events') } @both;
    $_->head for @s;
    is revoke($admin, issuer => $ISSUER, subject => 'eva')->{status}, 201, 'the user is revoked';
    told($_, 'a stream') for @s;
    gone($old, 'old tokens are refused');
    good($foreign, 'not those of another tenant');
    my ($at) = $here->pg("SELECT floor(extract(epoch FROM revoked_at))::bigint FROM token_revocation WHERE value = 'eva'");
    gone(token(sub => 'eva', iat => $at), 'also one of the same second');
    poll_until { time > $at } 5, 'the next second';
    good(token(sub => 'eva', iat => $at + 1), 'a later one is good');
    push @kept, $old;
};

subtest 'sictl' => sub {
    my $token = token(sub => 'fred');
    good($token, 'a token');
    like sictl($here, qw(token revoke acme --digest), sha256_hex($token)), qr/^revoked digest /, 'revokes one by its digest';
    poll_until { status($_, $token) == 401 or return 0 for @both; 1 } 30, 'the token to be refused';
    push @kept, $token;
    my $user = token(sub => 'gina');
    good($user, 'a token');
    like sictl($here, qw(token revoke acme --issuer), $ISSUER, qw(--subject gina --expires 1d)), qr/^revoked subject gina$/m, 'and a user';
    poll_until { status($_, $user) == 401 or return 0 for @both; 1 } 30, 'the user to be refused';
    push @kept, $user;
    for ([[qw(token revoke acme)], qr/takes one of/], [[qw(token revoke acme --issuer x --jti a --subject b)], qr/takes one of/], [[qw(token revoke acme --jti a)], qr/need an --issuer/],
        [[qw(token revoke acme --digest abc)], qr/must be the SHA-256/], [[qw(token revoke nobody --issuer x --jti a)], qr/no such tenant/]) {
        ok !eval { sictl($here, @{ $_->[0] }); 1 }, "@{ $_->[0] }: refused";
        like $@, $_->[1], 'and why';
    }
};

# What both nodes say that they know.
sub in_force { return map { my @n = $_->http(GET => '/metrics')->{body} =~ /^si_worker_token_revocations\{.*\} (\d+)$/mg; @n } @both }

subtest 'taken back' => sub {
    my @t = map { token(sub => $_) } qw(ina jan);
    good($_, 'a token') for @t;
    my @id = map { revoke($admin, issuer => $ISSUER, subject => $_)->{json}{id} } qw(ina jan);
    gone($_, 'is refused') for @t;
    my $list = $admin->json(GET => '/v1/revocations')->{json}{data};
    is_deeply [map { "$_->{id} $_->{subject} $_->{issuer}" } @$list[0, 1]], ["$id[1] jan $ISSUER", "$id[0] ina $ISSUER"], 'the list, the latest first';
    my $page = $admin->json(GET => '/v1/revocations?limit=1')->{json};
    is $admin->json(GET => "/v1/revocations?limit=1&cursor=$page->{next}")->{json}{data}[0]{id}, $id[0], 'page by page';
    is_problem $admin->json(GET => '/v1/revocations?cursor=x'), 400, 'invalid_cursor', 'cursor', 'no cursor';
    is_deeply [map { $_->{digest} // () } @{ $other->json(GET => '/v1/revocations')->{json}{data} }], [], 'another tenant has its own';
    is_problem $other->json(DELETE => "/v1/revocations/$id[0]"), 404, 'not_found', undef, 'and cannot take this back';
    is revoke($admin, issuer => $ISSUER, subject => 'ina')->{json}{id}, $id[0], 'the same once more is the same';
    my ($n) = $here->pg('SELECT count(*) FROM token_revocation WHERE expires_at > now()');
    poll_until { !grep { $_ != $n } in_force() } 30, 'the metric of all workers';

    my $from = now_ms();
    is $admin->json(DELETE => "/v1/revocations/$id[0]")->{status}, 204, 'one is taken back';
    poll_until { status($_, $t[0]) == 200 or return 0 for @both; 1 } 30, 'the token to be good';
    cmp_ok now_ms() - $from, '<', 1000, 'on both nodes within a second';
    is_problem $admin->json(DELETE => "/v1/revocations/$id[0]"), 404, 'not_found', undef, 'once';
    gone($t[1], 'the other stays');
    like sictl($here, qw(token list acme)), qr/^\Q$id[1]\E  .*  subject  jan  \Q$ISSUER\E$/m, 'sictl shows it';
    like sictl($here, qw(token restore acme), $id[1]), qr/^restored \Q$id[1]\E$/m, 'and takes it back';
    poll_until { status($_, $t[1]) == 200 or return 0 for @both; 1 } 30, 'the token to be good';
    unlike sictl($here, qw(token list acme)), qr/\Q$id[1]\E/, 'it is gone from the list';
    for ([$id[1], qr/has no such revocation/], ['x', qr/not the id of a revocation/]) {
        ok !eval { sictl($here, qw(token restore acme), $_->[0]); 1 }, 'what is not there';
        like $@, $_->[1], 'and why';
    }
    poll_until { !grep { $_ != $n - 2 } in_force() } 30, 'the metric to fall';
    revoke($admin, issuer => $ISSUER, jti => 'short', expires => '2999-01-01T00:00:00Z');
    $here->pg("UPDATE token_revocation SET expires_at = now() + interval '1 second' WHERE value = 'short'");
    poll_until { !$here->pg("SELECT 1 FROM token_revocation WHERE value = 'short'") } 30, 'one that is over to be deleted';
};

subtest 'who comes later knows it' => sub {
    $there->kill_node;
    my $up = $there->start_node;
    waitpid $up, 0;
    is $?, 0, 'a node is killed, and started again';
    gone($_, 'after a restart of a node') for @kept;
    my @old = $there->worker_pids;
    $there->kill9($_) for @old;
    poll_until { my @w = $there->worker_pids; @w == 2 && !grep { my $p = $_; grep { $_ == $p } @old } @w } 30, 'other workers';
    poll_until { my $s = $there->status; $s && 2 == grep { defined $_->{redis} } @{ $s->{workers} } } 30, 'the workers to answer';
    gone($_, 'and of its workers') for @kept;
};

subtest 'Redis is away' => sub {
    my $token = token(sub => 'hans');
    good($token, 'a token');
    my $far = stream($there, $token, '/v1/events');
    $far->head;
    $here->kill_redis;
    poll_until { !grep { $_->{redis} } @{ $there->status->{workers} } } undef, 'the other node without Redis';
    is revoke($admin, issuer => $ISSUER, subject => 'hans')->{status}, 201, 'a user is revoked';
    is status($here, $token), 401, 'this worker knows it at once';
    told($far, 'a stream of the other node, which looks into Postgres every auth.cache');
    my ($id) = map { $_->{id} } grep { ($_->{subject} // '') eq 'hans' } @{ $admin->json(GET => '/v1/revocations')->{json}{data} };
    is status($there, $token), 401, 'a token';
    is $admin->json(DELETE => "/v1/revocations/$id")->{status}, 204, 'is restored';
    poll_until { status($there, $token) == 200 } undef, 'the other node to find that out likewise';
    $here->start_redis;
};

done_testing;
