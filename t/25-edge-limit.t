# The edge alone: limits of rate. Exact over processes, kept over a reload, told in header fields, tried before they count.
use strict;
use warnings;
use lib 't/lib';
use File::Temp ();
use JSON::PP ();
use SI::Edge;
use Test::More;

my $json = JSON::PP->new->utf8;
my $bin = File::Temp::tempdir('si-limit-XXXXXX', TMPDIR => 1, CLEANUP => 1);
system('cc', qw(-std=gnu11 -O2 -D_GNU_SOURCE -Wall -Wextra -o), "$bin/rate", 't/bench/rate.c') == 0 or BAIL_OUT('t/bench/rate.c');

# An nginx with a second server, whose files are answered by nginx alone and whose connections are spread over the processes.
sub edge {
    my ($zones, $locations, %o) = @_;
    my $edge = SI::Edge->new(%o);
    my $port = $edge->{port};
    $port = SI::Edge::free_port() while $port == $edge->{port} || $port == $edge->{h2};
    $edge->{http} = "$zones server { listen 127.0.0.1:$port reuseport; keepalive_requests 100000; add_header X-Pid \$pid always; $locations }";
    $edge->{files} = $port;
    mkdir "$edge->{dir}/html";
    open my $fh, '>', "$edge->{dir}/html/$_" for qw(a b c d e f);
    $edge->{worker} = $edge->worker(0);
    $edge->start;
    $edge->{worker}->wait_link($o{nginx_workers} || 1);
    return $edge;
}

# The answer to GET of a file: status, fields by name in lower case, body.
sub get {
    my ($edge, $path, $head) = @_;
    local $edge->{port} = $edge->{files};
    my $c = $edge->get($path, head => $head);
    $c->wait_whole;
    my %r = (status => $c->status, body => $c->body, map { lc } $c->header =~ /^([\w-]+): (.*)\r$/mg);
    $c->close;
    return \%r;
}

sub gets { my ($edge, $n, $path, $head) = @_; return map { get($edge, $path, $head) } 1 .. $n }
sub statuses { return join ' ', map { $_->{status} } @_ }

sub status {
    my $edge = shift;
    my $c = $edge->get('/status');
    $edge->{worker}->call->json('{}');
    $c->wait_whole;
    my $s = $json->decode($c->body);
    $c->close;
    return $s->{edge};
}

# The samples of limits in /metrics: "name{labels}" => value.
sub metrics {
    my $edge = shift;
    my $c = $edge->get('/metrics');
    $edge->{worker}->call->head(200, type => 'text/plain', length => 0)->end;
    $c->wait_whole;
    my %samples = $c->body =~ /^(si_limit_\w+\{[^}]*\}) (\d+)$/mg;
    $c->close;
    return \%samples;
}

# A List of RFC 9651 whose members are Strings with parameters that are Integers: [[name, { key => value }], …], or nothing.
sub sf_list {
    my $s = shift // '';
    my @list;
    while ($s =~ /\G"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"/gc) {
        push @list, [$1, {}];
        $list[-1][1]{$1} = $2 while $s =~ /\G; *([a-z*][a-z0-9_.*-]*)=(-?[0-9]{1,15})/gc;
        return @list if $s =~ /\G\z/gc;
        return if $s !~ /\G[ \t]*,[ \t]*/gc;
    }
    return;
}

sub reload {
    my ($edge, $zones) = @_;
    my %old = map { $_ => 1 } $edge->nginx_pids;
    $edge->{http} =~ s/\A.*?(?=server \{)/$zones / if $zones;
    $edge->write_conf;
    $edge->reload;
    SI::Edge::wait_for(sub { my @p = $edge->nginx_pids; @p && !grep { $old{$_} } @p }, 'the new processes');
    $edge->{worker}->wait_link;
    return;
}

subtest 'exact over two processes' => sub {
    # under a sanitizer a fifth of the requests, as fast as it can take them
    my $sanitized = SI::Edge->new->{module} eq '';
    my ($total, $rate) = $sanitized ? (20_000, 2000) : (100_000, 4000);
    my $edge = edge("si_limit_zone \$uri zone=exact:1m rate=${rate}r/s burst=$rate;", 'location / { si_limit zone=exact; access_log off; }', nginx_workers => 2);
    my $r = $json->decode(scalar `$bin/rate $edge->{files} /a $total @{[2 * $rate]} 32`);
    note explain $r;
    is $r->{passed} + $r->{limited}, $total, "$total requests, all answered";
    is scalar @{ $r->{pids} }, 2, 'both had requests';
    is $r->{others}, 0, 'nothing but 200 and 429';
    my $wanted = $rate * $r->{seconds} + $rate;
    cmp_ok $r->{passed}, '<=', $wanted + 1, 'never more than rate x time + burst';
    cmp_ok $r->{passed}, '>=', 0.99 * $wanted, 'nor less by 1 %';
    my $s = status($edge)->{limits}{exact};
    is_deeply $s, { passed => $r->{passed}, limited => $r->{limited}, dry_run => 0, no_room => 0, keys => 1 }, 'as the counters say';
    $edge->stop;
};

subtest 'what an answer tells' => sub {
    my $edge = edge('si_limit_zone $http_x_k zone=one:64k rate=6r/m burst=3; si_limit_zone $http_x_h zone=fast:64k rate=100r/s burst=150;',
        'location /a { si_limit zone=one; } location /b { } location /c { si_limit zone=fast; si_limit zone=one; } location /d { si_limit zone=one; error_page 404 /e; } location = /e { internal; }
        location /f { si_limit zone=fast; }');
    my @r = gets($edge, 4, '/a', "X-K: 1\r\n");
    is statuses(@r), '200 200 200 429', 'three at once, then none';
    is_deeply [sf_list($_->{'ratelimit-policy'})], [['one', { q => 3, w => 30 }]], 'policy' for @r;
    is_deeply [map { (sf_list($_->{ratelimit}))[0][1]{r} } @r], [2, 1, 0, 0], 'what is left';
    cmp_ok abs((sf_list($_->{ratelimit}))[0][1]{t} - 10), '<=', 1, 'one more each ten seconds' for @r;
    is $r[3]{'retry-after'}, (sf_list($r[3]{ratelimit}))[0][1]{t}, 'Retry-After agrees';
    is $r[0]{'retry-after'}, undef, 'and is only in a refusal';
    is $r[3]{'content-type'}, 'application/problem+json', 'a problem';
    my $p = $json->decode($r[3]{body});
    is "$p->{code} $p->{status}", 'rate_limited 429', 'its code and status';
    is get($edge, '/a', "X-K: 2\r\n")->{status}, 200, 'another key has its own';
    for my $head ('', "X-K:\r\n") {
        @r = gets($edge, 5, '/a', $head);
        is statuses(@r), '200 200 200 200 200', 'an empty key is not limited';
        is $r[0]{ratelimit}, undef, 'and told nothing';
    }
    is get($edge, '/b', "X-K: 1\r\n")->{ratelimit}, undef, 'nor is a location without limits';
    @r = gets($edge, 4, '/dd', "X-K: 3\r\n");
    is statuses(@r), '404 404 404 429', 'an answer that went by an internal redirect is charged once';
    is_deeply [map { (sf_list($_->{ratelimit}))[0][1]{r} } @r], [2, 1, 0, 0], 'and tells of the limit';
    my $r = get($edge, '/f', "X-H: 1\r\n");
    is_deeply [sf_list($r->{'ratelimit-policy'}), sf_list($r->{ratelimit})], [['fast', { q => 200, w => 2 }], ['fast', { r => 149, t => 1 }]], 'whole seconds';

    @r = gets($edge, 5, '/c', "X-K: 4\r\nX-H: 4\r\n");
    is statuses(@r), '200 200 200 429 429', 'of two limits the tighter decides';
    is_deeply [sf_list($r[3]{'ratelimit-policy'})], [['fast', { q => 200, w => 2 }], ['one', { q => 3, w => 30 }]], 'the policy names both';
    is_deeply [map { (sf_list($_->{ratelimit}))[0][0] } @r], [('one') x 5], 'the tightest speaks';
    my $s = status($edge)->{limits};
    is $s->{fast}{passed}, 4, 'what one refuses the other does not charge';
    is $s->{fast}{limited}, 0, 'nor count';
    is $s->{one}{limited}, 4, 'refusals are counted';

    my $c = $edge->client("HEAD /a HTTP/1.1\r\nHost: t\r\nX-K: 9\r\n\r\n", port => 0);
    $edge->{worker}->call->head(200, type => 'text/plain', length => 0)->end;
    is $c->wait_head =~ /RateLimit/, '', 'the other server has none';
    $c->close;
    $edge->stop;
};

subtest 'a call and its stream' => sub {
    my $edge = edge('si_limit_zone $si_credential zone=key:64k rate=6r/m burst=2;', '', location => 'si_limit zone=key;');
    my $w = $edge->{worker};
    my $c = $edge->get('/v1/x', head => "Authorization: Bearer a\r\n");
    $w->call->stream->data("data: 1\n\n");
    $c->wait_body(qr/data/);
    like $c->header, qr/^RateLimit: "key";r=1;t=10\r$/m, 'a stream tells its limit';
    like $c->header, qr/^RateLimit-Policy: "key";q=2;w=20\r$/m, 'and the policy';
    my $two = $edge->client("POST /v1/x HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer a\r\nContent-Length: 3\r\n\r\nabc");
    $w->call->json('{}');
    $two->wait_whole;
    is $two->status, 200, 'a POST';
    SI::Edge::write_all($two, "POST /v1/x HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer a\r\nContent-Length: 3\r\n\r\nabc");
    $two->{in} = '';
    $two->wait_whole;
    is $two->status, 429, 'another is refused';
    SI::Edge::write_all($two, "GET /v1/y HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer b\r\n\r\n");
    $two->{in} = '';
    $w->call->json('{}');
    $two->wait_whole;
    is $two->status, 200, 'and its connection is used again';
    my $ws = "GET /v1/socket HTTP/1.1\r\nHost: t\r\nSec-WebSocket-Protocol: si, si.bearer.k\r\n\r\n";
    for my $status (200, 200, 429) {
        my $s = $edge->client($ws);
        $w->call->json('{}') if $status == 200;
        $s->wait_whole;
        is $s->status, $status, 'the credential of a WebSocket';
        $s->close;
    }
    is scalar(grep { $_->{type} eq 'OPEN' } @{ $w->{frames} }), 0, 'no worker saw what was refused';
    $_->close for $c, $two;
    $edge->stop;
};

subtest 'failures to say who one is' => sub {
    my $zones = 'si_limit_zone $http_x_addr zone=fail:64k rate=1r/m burst=3; si_limit_zone $http_x_addr zone=dry:64k rate=1r/m burst=1; si_limit_failures zone=fail; si_limit_failures zone=dry dry_run;';
    my $edge = edge($zones,
        'location /a { } location /b { return 401; } location /c { si_limit_failures off; }');
    my $w = $edge->{worker};
    # POST of a caller at an address: the worker answers so
    my $call = sub {
        my ($addr, $status) = @_;
        my $c = $edge->client("POST /v1/x HTTP/1.1\r\nHost: t\r\nX-Addr: $addr\r\nContent-Length: 2\r\n\r\n{}");
        $w->call->head($status, type => 'application/json', length => 2)->data('{}')->end if $status != 429;
        $c->wait_whole;
        my ($got, $head, $body) = ($c->status, $c->header, $c->body);
        $c->close;
        return ($got, $head, $body);
    };
    is join(' ', map { ($call->(1, $_))[0] } (200, 403, 401) x 2), '200 403 401 200 403 401', 'two failures among others';
    is metrics($edge)->{'si_limit_requests_total{zone="fail",decision="passed"}'}, 2, 'are charged, and nothing else';
    is get($edge, '/b', "X-Addr: 1\r\n")->{status}, 401, "a third, of nginx's own";
    my ($status, $head, $body) = $call->(1, 429);
    is $status, 429, 'then nobody is asked';
    like $head, qr/^Retry-After: [1-6]\d?\r$/m, 'when to come back';
    is $json->decode($body)->{code}, 'too_many_failures', 'the code';
    unlike $head, qr/^RateLimit/m, 'no budget is told';
    is get($edge, '/a', "X-Addr: 1\r\n")->{status}, 429, 'whatever is asked for';
    is get($edge, '/c', "X-Addr: 1\r\n")->{status}, 200, 'but where it is off';
    is +($call->(2, 200))[0], 200, 'another address may';
    reload($edge, $zones =~ s/rate=1r\/m burst=3/rate=100r\/s burst=3/r);
    ok SI::Edge::wait_for(sub { get($edge, '/a', "X-Addr: 1\r\n")->{status} == 200 }, 'the time to pass'), 'in time it may again';
    is scalar(grep { $_->{type} eq 'OPEN' } @{ $w->{frames} }), 0, 'no worker saw what was refused';
    my $m = metrics($edge);
    is $m->{'si_limit_requests_total{zone="fail",decision="passed"}'}, 3, 'failures in the metrics';
    cmp_ok $m->{'si_limit_requests_total{zone="fail",decision="limited"}'}, '>=', 2, 'and refusals';
    cmp_ok $m->{'si_limit_requests_total{zone="dry",decision="dry_run"}'}, '>=', 2, 'and what a dry run would have refused';
    $edge->stop;
};

subtest 'dry run' => sub {
    my $edge = edge('si_limit_zone $http_x_k zone=dry:64k rate=1r/m burst=2; log_format l "$uri $si_limit_status";',
        'access_log logs/limit.log l; location / { si_limit zone=dry dry_run; }');
    my @r = gets($edge, 5, '/a', "X-K: 1\r\n");
    is statuses(@r), '200 200 200 200 200', 'refuses nothing';
    is $r[4]{ratelimit}, undef, 'and tells clients nothing';
    is_deeply status($edge)->{limits}{dry}, { passed => 2, limited => 0, dry_run => 3, no_room => 0, keys => 1 }, 'counts';
    is_deeply metrics($edge), { 'si_limit_keys{zone="dry"}' => 1, 'si_limit_no_room_total{zone="dry"}' => 0,
        map { ("si_limit_requests_total{zone=\"dry\",decision=\"$_->[0]\"}" => $_->[1]) } [passed => 2], [limited => 0], [dry_run => 3] }, 'in the metrics, too';
    is scalar(() = $edge->log =~ /\[warn\][^\n]*si limit "dry" would refuse the request/g), 3, 'and logs';
    is SI::Edge::slurp("$edge->{dir}/logs/limit.log"), "/a passed\n" x 2 . "/a dry_run\n" x 3, '$si_limit_status';
    $edge->stop;
};

subtest 'a reload' => sub {
    my $edge = edge('si_limit_zone $http_x_k zone=z:64k rate=1r/m burst=2;', 'location / { si_limit zone=z; }');
    is statuses(gets($edge, 3, '/a', "X-K: 1\r\n")), '200 200 429', 'before';
    reload($edge);
    is get($edge, '/a', "X-K: 1\r\n")->{status}, 429, 'keeps the state';
    is status($edge)->{limits}{z}{limited}, 2, 'and the counters';
    reload($edge, 'si_limit_zone $http_x_k zone=z:64k rate=1000r/s burst=2;');
    SI::Edge::wait_for(sub { get($edge, '/a', "X-K: 1\r\n")->{status} == 200 }, 'a faster rate to count at once', 10);
    pass 'with a faster rate a key has not to wait for what it did at a slower one';
    reload($edge, 'si_limit_zone $http_x_k zone=z:128k rate=1r/m burst=2;');
    is statuses(gets($edge, 3, '/a', "X-K: 1\r\n")), '200 200 429', 'another size is another zone';
    my %old = map { $_ => 1 } $edge->nginx_pids;
    $edge->{http} =~ s/\$http_x_k/\$http_x_other/;
    $edge->write_conf;
    $edge->reload;
    SI::Edge::wait_for(sub { $edge->log =~ /\[emerg\][^\n]*si limit zone "z" has the key "\$http_x_other" while previously/ }, 'the refusal');
    is scalar(grep { !$old{$_} } $edge->nginx_pids), 0, 'another key needs another name';
    $edge->{expected} = qr/has the key/;
    $edge->stop;
};

subtest 'more keys than a zone holds' => sub {
    my $edge = edge('si_limit_zone $http_x_k zone=small:32k rate=1r/m burst=1; si_limit_zone $http_x_k zone=quick:32k rate=100000r/s burst=1;',
        'location / { si_limit zone=small; si_limit zone=quick; }');
    my $sent = 2000;
    my $c = do { local $edge->{port} = $edge->{files}; $edge->client };
    SI::Edge::write_all($c, join '', map { "GET /a HTTP/1.1\r\nHost: t\r\nX-K: $_\r\n\r\n" } 1 .. $sent);
    SI::Edge::wait_for(sub { (() = $c->{in} =~ /^HTTP/mg) == $sent }, 'all answers');
    is scalar(() = $c->{in} =~ /^HTTP\/1.1 200/mg), $sent, 'all passed';
    is get($edge, '/a', "X-K: $sent\r\n")->{status}, 429, 'the last is known';
    is get($edge, '/a', "X-K: 1\r\n")->{status}, 200, 'the first is forgotten';
    $c->close;
    my $s = status($edge)->{limits};
    cmp_ok $s->{small}{keys}, '>', 64, 'keys held';
    is $s->{small}{keys} + $s->{small}{no_room}, $sent + 1, 'the others had no room';
    is $s->{quick}{no_room}, 0, 'a full bucket is not an eviction';
    cmp_ok $s->{quick}{keys}, '<', 64, 'but a place for the next key';
    $edge->stop;
};

subtest 'inheritance' => sub {
    my $edge = edge('si_limit_zone $http_x_k zone=a:64k rate=1r/m burst=1; si_limit_zone $http_x_k zone=b:64k rate=1r/m burst=2; si_limit zone=a;',
        'location /a { } location /b { si_limit zone=b; } location /c { si_limit off; }');
    is statuses(gets($edge, 3, '/a', "X-K: 1\r\n")), '200 429 429', 'from above';
    is statuses(gets($edge, 3, '/b', "X-K: 1\r\n")), '200 200 429', 'replaced';
    is statuses(gets($edge, 3, '/c', "X-K: 1\r\n")), '200 200 200', 'off';
    $edge->stop;
};

subtest 'what is wrong in a configuration' => sub {
    my $edge = SI::Edge->new;
    my %bad = (
        'si_limit_zone $a rate=1r/s;' => 'must have the parameter "zone=NAME:SIZE"',
        'si_limit_zone $uri;' => 'invalid number of arguments in "si_limit_zone"',
        (map { ("si_limit_zone \$uri zone=z:64k$_;" => 'must have either the parameter "rate=Nr/s" or "rate=Nr/m", or "streams=N"') } '', ' burst=2', ' rate=1r/s streams=2'),
        'si_limit_zone $uri zone=z:64k streams=2 burst=2;' => 'must have the parameter "burst=N" with a rate only',
        (map { ("si_limit_zone \$uri zone=z:64k streams=$_;" => "the parameter \"streams=$_\": a limit of streams is 1 to 1000000") } qw(0 x -1 1000001)),
        'si_limit_zone $uri zone=z:64k streams=2; si_limit zone=z;' => 'unknown limit zone "z" of a rate',
        'si_limit_zone $uri zone=z:64k rate=2r/s; si_limit_streams zone=z;' => 'unknown limit zone "z" of streams',
        'si_limit_zone $uri zone=z rate=1r/s;' => 'the parameter "zone=z": expected "zone=NAME:SIZE"',
        'si_limit_zone $uri zone=:1m rate=1r/s;' => 'expected "zone=NAME:SIZE"',
        'si_limit_zone $uri zone=z:1k rate=1r/s;' => 'the size must be at least 8 pages',
        'si_limit_zone $uri zone=z:much rate=1r/s;' => 'the size must be at least 8 pages',
        'si_limit_zone $uri zone=si_counters:1m rate=1r/s;' => 'reserved',
        "si_limit_zone \$uri 'zone=a\"b:1m' rate=1r/s;" => 'printable ASCII',
        (map { ("si_limit_zone \$uri zone=z:64k rate=$_;" => "the parameter \"rate=$_\": a rate is 1 to 1000000") } qw(10 0r/s -1r/s r/s 1r/h 1000001r/s 99999999999999999999r/s)),
        (map { ("si_limit_zone \$uri zone=z:64k rate=1r/s burst=$_;" => "the parameter \"burst=$_\": a burst is 1 to 1000000") } qw(0 x -1 1000001)),
        'si_limit_zone $uri zone=z:64k rate=1r/s nodelay;' => 'the parameter "nodelay": there is no such parameter',
        'si_limit_zone $uri zone=z:64k rate=1r/s; si_limit_zone $uri zone=z:64k rate=2r/s;' => 'limit zone "z" is defined twice',
        'si_limit_zone $nothing zone=z:64k rate=1r/s;' => 'unknown "nothing" variable',
        'si_limit zone=z;' => 'unknown limit zone "z"',
        'si_limit z;' => 'expects "zone=NAME" or "off" first',
        'si_limit zone=z dry;' => 'expects nothing but "dry_run" after the zone',
        'si_limit zone=z; si_limit zone=z;' => 'names a zone twice',
        'si_limit off; si_limit zone=z;' => 'may be "off" only alone',
        'si_limit zone=z; si_limit off;' => 'may be "off" only alone',
        join('', map { "si_limit zone=z$_;" } 1 .. 9) => 'stands here too often',
    );
    for my $line (sort keys %bad) {
        $edge->{http} = $line;
        $edge->write_conf;
        my $out = `$edge->{nginx} -t -p $edge->{dir} -c $edge->{dir}/nginx.conf -e $edge->{dir}/logs/error.log 2>&1`;
        my @said = $out =~ /\[emerg\][^\n]*/g;
        is scalar @said, 1, "one line for $line" or diag $out;
        like $said[0], qr/\Q$bad{$line}\E/, 'which says what';
    }
};

done_testing;
