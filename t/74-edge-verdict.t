# What workers have said of API keys, at the edge: who goes on with a verdict, who is refused, for how long, and who is forgotten.
use strict;
use warnings;
use lib 't/lib';
use Digest::SHA ();
use SI::Edge;
use SI::FakeWorker;
use Test::More;

my $VERDICT = 5;        # kind of PUSH
my ($TENANT, $USER, $ID) = map { "$_-0000-7000-8000-000000000000" } '0000000a', '0000000b', '0000000c';

sub key { return sprintf 'sk_si_%046d', shift }
sub ms { return int(1000 * SI::Edge::now()) }

# As si_verdict_put() writes it.
sub verdict {
    my ($key, $good, %o) = @_;
    my $p = Digest::SHA::sha256($key) . pack('Q<VQ<C', $o{at} // ms(), $o{life} // 60_000, $o{until} // 0, $good);
    return $good ? $p . ($o{tenant} // $TENANT) . $USER . $ID . pack('C/a*', $o{scopes} // '') : $p;
}

my $edge = SI::Edge->new(nginx_workers => 2, http => 'si_auth_cache 64k; si_limit_zone $si_tenant zone=tenant:64k rate=1r/m burst=2; si_limit_zone $binary_remote_addr zone=failures:64k rate=1r/m burst=2;',
    location => "}\nlocation /limited { si_limit zone=tenant; si_pass main;\n}\nlocation /fail { si_limit_failures zone=failures; si_pass main;\n}\nlocation /words { si_errors openai; si_pass main;\n}\nlocation /log { add_header X-Who \$si_tenant/\$si_user/\$si_key/\$si_auth always; si_pass main;");
# another system's pool, whose folder is the same here
$edge->{http} .= " si_pool other $edge->{dir}/other workers=1;";
$edge->{location} .= "}\nlocation /other { si_pass other;";
mkdir "$edge->{dir}/other";
my $w = $edge->worker(0);
my $o = SI::FakeWorker->new(folder => "$edge->{dir}/other", slot => 0, pid => 2000);
$edge->start;
$w->wait_link(2);
$o->wait_link(2);

sub ask { my ($key, $path, $head) = @_; return $edge->get($path || '/x', head => $head // "Authorization: Bearer $key\r\n") }
sub told { my ($key, $good, %o) = @_; $w->push_frame($w->{links}[$o{link} || 0], $VERDICT, verdict($key, $good, %o)); return }
# What the worker got: how the caller is named, "" when it is not.
sub seen {
    my ($c, $answer, $worker) = @_;
    my $call = ($worker || $w)->call;
    $call->head($answer || 204, length => 0)->end;
    $c->wait_head;
    my $who = defined $call->{verdict} ? 'verdict ' . unpack('H8', $call->{verdict}) : '';
    return join '; ', grep { length } $who, map { defined $call->{headers}{$_} ? $_ : () } qw(authorization x-api-key cookie);
}
sub known { my $key = shift; return 'verdict ' . unpack 'H8', Digest::SHA::sha256($key) }
sub status {
    my $c = $edge->get('/status');
    $_->call->head(500)->end for $w, $o;
    $c->wait_whole;
    my ($known, $refused, $unknown, $good, $bad, $evicted) = $c->body =~ /"keys":\{"known":(\d+),"refused":(\d+),"unknown":(\d+),"kept":\{"good":(\d+),"bad":(\d+),"evicted":(\d+)\}/;
    $c->close;
    return { known => $known, refused => $refused, unknown => $unknown, good => $good, bad => $bad, evicted => $evicted };
}
# All that was told has been taken: PUSH and OPEN come by different ways, but the zone says what it holds.
sub taken { my ($want, $good, $bad) = @_; SI::Edge::wait_for(sub { my $s = status(); $s->{good} == $good && $s->{bad} == $bad }, "a zone with $want") ; return }
sub refused { my ($c, $what) = @_; $c->wait_whole; is $c->status, 401, $what; return $c }

subtest 'one that is good' => sub {
    my $key = key(1);
    is seen(ask($key)), 'authorization', 'a key that nobody has spoken of goes to the worker';
    told($key, 1, scopes => 'admin');
    taken('a key', 1, 0);
    my $c = ask($key);
    my $call = $w->call;
    is_deeply [@$call{qw(verdict)}, grep { /auth|key|cookie/ } keys %{ $call->{headers} }], [verdict($key, 1, scopes => 'admin', at => unpack 'x32Q<', $call->{verdict})], 'then its verdict does, and not the key';
    $call->head(204)->end;
    is seen(ask($key, '/x', "X-Api-Key: $key\r\nCookie: a=b\r\n")), known($key), 'also of one in X-Api-Key';
    is seen(ask($key, '/x', "Authorization: Bearer $key\r\nX-Api-Key: " . key(2) . "\r\n")), known($key), 'Authorization goes first';
    is seen(ask($key)), known($key), 'again and again' for 1 .. 20;
    my %link;
    SI::Edge::wait_for(sub { my $d = ask($key); my $e = $w->call; $e->head(204)->end; $d->wait_head; $link{ $e->{link}{no} } = defined $e->{verdict}; keys %link == 2 }, 'both processes');
    is_deeply [values %link], [1, 1], 'whichever process was told';
    is seen(ask($key, '/other'), 204, $o), 'authorization', "but not at another pool's workers";
    is seen(ask($key, "/x?ticket=st_si_x")), 'authorization', 'a ticket goes first';
    is seen(ask('sk_si_short', '/x')), 'authorization', 'what is no key is not looked up';
    told($key, 0, life => 0);
    taken('none', 0, 0);
    is seen(ask($key)), 'authorization', 'one that is to be forgotten is asked about again';
};

subtest 'who it is' => sub {
    my $key = key(3);
    told($key, 1);
    taken('a key', 1, 0);
    my $c = ask($key, '/log');
    $w->call->head(503, length => 0)->end;
    $c->wait_head;
    like $c->header, qr{^X-Who: ///cached\r$}m, 'an answer says itself who called';
    $c = ask($key, '/log');
    $w->call->head(204, tenant => 't', user => 'u', credential => 'k')->end;
    $c->wait_head;
    like $c->header, qr{^X-Who: t/u/k/cached\r$}m, 'and may say otherwise';
    is join(' ', map { my $d = ask($key, '/limited'); if ($_ < 3) { $w->call->head(204)->end } $d->wait_head; $d->status } 1 .. 3), '204 204 429', 'a limit knows the tenant before';
    like $edge->access, qr{^429 - \Q$TENANT $USER\E }m, 'and so does the log';
    my $other = key(4);
    told($other, 1);
    taken('two keys', 2, 0);
    $c = ask($other, '/limited');
    $c->wait_head;
    is $c->status, 429, 'another key of the tenant is limited with it';
    told($_, 0, life => 0) for $key, $other;
    taken('none', 0, 0);
};

subtest 'one that is nobody\'s' => sub {
    my $key = key(5);
    told($key, 0);
    taken('it', 0, 1);
    my $c = refused(ask($key), 'is refused at once');
    like $c->header, qr/^WWW-Authenticate: Bearer realm="si"\r$/m, 'with a challenge';
    like $c->header, qr{^Content-Type: application/problem\+json\r$}m, 'as a problem';
    like $c->body, qr/"status":401,"code":"unauthorized"/, 'with its code';
    like refused(ask($key, '/words'), 'likewise')->body, qr/"error":\{/, 'in the words of the location';
    like refused(ask($key, '/log'), 'likewise')->header, qr{^X-Who: ///key\r$}m, 'and $si_auth';
    my $post = $edge->client("POST /x HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer $key\r\nContent-Length: 3\r\n\r\nabc");
    refused($post, 'with a body, too');
    is join(' ', map { my $d = ask($key, '/fail'); $d->wait_whole; $d->status } 1 .. 3), '401 401 429', 'who goes on is not listened to';
    ok !$w->has('OPEN'), 'no worker hears of it';
    $c = ask($key, '/x', "Authorization: Bearer " . key(6) . "\r\n");
    is seen($c), 'authorization', 'another key is not refused';
    told($key, 0, life => 300);
    SI::Edge::wait_for(sub { my $d = ask($key); SI::Edge::wait_for(sub { $w->has('OPEN') || $d->whole }, 'an answer'); my $open = $w->has('OPEN'); seen($d) if $open; $open }, 'the end of its verdict');
    pass 'for as long as the worker said';
};

subtest 'two that come late' => sub {
    my $key = key(7);
    my $at = ms();
    told($key, 1, at => $at);
    told($key, 0, at => $at - 1);
    told(key(8), 1);
    SI::Edge::wait_for(sub { status()->{good} == 2 }, 'what came behind');
    is seen(ask($key)), known($key), 'an older one changes nothing';
    told($key, 0, at => $at + 1);
    SI::Edge::wait_for(sub { status()->{good} == 1 }, 'the newer one');
    refused(ask($key), 'a newer one counts');
    told($key, 0, at => $at + 2, life => 0);
};

subtest 'a reload' => sub {
    my %was = map { $_ => 1 } $edge->nginx_pids;
    $edge->reload;
    SI::Edge::wait_for(sub { my @now = $edge->nginx_pids; @now == 2 && !grep { $was{$_} } @now }, 'new processes');
    $_->wait_link(2) for $w, $o;
    is seen(ask(key(8))), known(key(8)), 'what was known is known';
    told(key(9), 1);
    SI::Edge::wait_for(sub { status()->{good} == 2 }, 'a further one');
    is seen(ask(key(9))), known(key(9)), 'and the new processes keep more';
};

subtest 'too many' => sub {
    my $n = 400;
    told(key($_), 1) for 1000 .. 1000 + $n;
    told(key(1000 + $n), 1);
    my $s;
    SI::Edge::wait_for(sub { $s = status(); $s->{evicted} + $s->{good} >= $n }, 'a full zone');
    cmp_ok $s->{good}, '>=', 40, 'it holds a number';
    is seen(ask(key(1000 + $n))), known(key(1000 + $n)), 'the last one is known';
    is seen(ask(key(1000))), 'authorization', 'the first one is not, and gets in by its key';
    my $good = $s->{good};
    told(key($_), 0) for 3000 .. 3000 + $n;
    told(key(5000), 1);
    SI::Edge::wait_for(sub { seen(ask(key(5000))) eq known(key(5000)) }, 'what was told after');
    is status()->{good}, $good, 'keys that nobody has displace none that are good';
    is seen(ask(key(1000 + $n))), known(key(1000 + $n)), 'so it is known still';
};

subtest 'malformed' => sub {
    for (verdict(key(1), 1) . 'x', substr(verdict(key(1), 1), 0, -1), substr(verdict(key(1), 0), 0, -1), verdict(key(1), 0) . 'x', verdict(key(1), 2)) {
        my $link = $w->wait_link(2);
        $w->push_frame($link, $VERDICT, $_);
        SI::Edge::wait_for(sub { $link->{closed} }, 'the end of the link');
    }
    is scalar(() = $edge->log =~ /closed: malformed PUSH/g), 5, 'each closes its link';
};

$edge->stop;
done_testing;
