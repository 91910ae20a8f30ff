# /metrics: the text format of Prometheus 0.0.4, read as strictly as it is written, against README.md and against /status.
use strict;
use warnings;
use lib 't/lib';
use SI::Edge;
use SI::Model;
use SI::Test;
use Test::More;

# Families by name: { type, help, samples => { 'labels in order' => value } }. Dies of whatever the format does not allow.
# https://prometheus.io/docs/instrumenting/exposition_formats/ (lines end in LF, a family is one group, TYPE before samples).
sub parse {
    my $text = shift;
    my (%family, $open);
    die "no LF at the end\n" unless $text =~ /\n\z/;
    for my $line (split /\n/, $text, -1) {
        next if $line eq '';
        if ($line =~ /^# HELP ([a-zA-Z_:][\w:]*) (\S.*)$/) {
            die "$1 comes twice\n" if $family{$1};
            die "$1: a bare backslash in HELP\n" if $2 !~ /^(?:[^\\]|\\[\\n])*$/;
            $open = $line =~ /^# HELP (\S+)/ && $1;
            $family{$open} = { samples => {} };
        } elsif ($line =~ /^# TYPE (\S+) (counter|gauge|histogram)$/) {
            die "TYPE $1 in the wrong place\n" if !defined $open || $open ne $1 || $family{$1}{type} || %{ $family{$1}{samples} };
            $family{$open}{type} = $2;
        } elsif ($line =~ /^([a-zA-Z_:][\w:]*)(?:\{((?:[a-zA-Z_]\w*="(?:[^"\\]|\\[\\"n])*",?)*)\})? (-?\d+(?:\.\d+)?(?:e-?\d+)?)$/) {
            my ($name, $labels, $value) = ($1, $2 // '', $3);
            my $of = defined $open && ($family{$open}{type} // '') eq 'histogram' && $name =~ /^\Q$open\E_(?:bucket|sum|count)$/ ? $open : $name;
            die "$name outside of its family\n" if !defined $open || $open ne $of || !$family{$of}{type};
            $labels = "$labels$1" if $of ne $name && $name =~ /(_(?:bucket|sum|count))$/;
            die "$name\{$labels} comes twice\n" if exists $family{$of}{samples}{$labels};
            die "$name\{$labels} is negative\n" if $value < 0;
            $family{$of}{samples}{$labels} = $value;
        } else {
            die "no line of the format: $line\n";
        }
    }
    return \%family;
}

my %told = map { /^\| `((?:si|gen_ai)_\w+)[^|]*\| (gauge|counter|histogram) \|/ ? ($1, $2) : () } split /\n/, slurp(root() . '/README.md');
cmp_ok scalar keys %told, '>=', 20, 'README.md has a table of metrics';

subtest 'the edge puts what the workers say in order' => sub {
    my $edge = SI::Edge->new(workers => 3);
    my @w = map { $edge->worker($_) } 0 .. 2;
    $edge->start;
    $_->wait_link for @w;
    my $ask = sub {
        my @says = @_;
        my $c = $edge->get('/metrics');
        for my $i (0 .. 2) {
            my $q = $w[$i]->call;
            is $q->{path}, '/metrics', "worker $i is asked";
            is $q->{headers}{'x-si-internal'}, '1', 'by the edge itself';
            defined $says[$i] ? $q->head(200, type => 'text/plain', length => length $says[$i])->data($says[$i])->end : $q->head(500)->end;
        }
        ok $c->wait_whole, 'answered';
        my $f = eval { parse($c->body) };
        is $@, '', 'in the format';
        my $head = $c->header;
        $c->close;
        return ($f, $head);
    };
    my $one = "# HELP a_x A \\\\.\n# TYPE a_x gauge\na_x 1\n# HELP b_total B.\n# TYPE b_total counter\nb_total{k=\"}\\\"{\"} 2\nb_total{k=\"z\"} 3\n";
    my ($f, $head) = $ask->($one, $one =~ s/a_x 1/a_x 7/r, undef);
    like $head, qr{^Content-Type: text/plain; version=0\.0\.4; charset=utf-8\r$}m, 'its type';
    is_deeply $f->{a_x}{samples}, { 'pool="main",worker="0"' => 1, 'pool="main",worker="1"' => 7 }, 'one family of two workers';
    is $f->{b_total}{type}, 'counter', 'with its type';
    is_deeply $f->{b_total}{samples}, { map { ("pool=\"main\",worker=\"$_\",k=\"}\\\"{\"" => 2, "pool=\"main\",worker=\"$_\",k=\"z\"" => 3) } 0, 1 }, 'labels stay';
    is_deeply $f->{si_worker_up}{samples}, { 'pool="main",worker="0"' => 1, 'pool="main",worker="1"' => 1, 'pool="main",worker="2"' => 0 }, 'who answered';
    is_deeply [grep { !$told{$_} } grep { /^si_/ } keys %$f], [], 'README.md tells of all that the edge has';
    is_deeply [grep { $f->{$_}{type} ne $told{$_} } grep { /^si_/ } keys %$f], [], 'with the right type';
    is_deeply [grep { /_total$/ xor $f->{$_}{type} eq 'counter' } keys %$f], [], 'counters and nothing else end in _total';
    is $f->{si_links}{samples}{''}, 3, 'three links';
    is $f->{si_links_opened_total}{samples}{''}, 3, 'that came up once';
    is_deeply [sort keys %{ $f->{si_stream_closed_total}{samples} }], [map { "reason=\"$_\"" } qw(drain expired lost slow stall)], 'closed by reason';

    # an older program, and one that was cut in the middle of a line
    ($f) = $ask->("# HELP a_x A \\\\.\n# TYPE a_x gauge\na_x 5\n", $one, substr $one, 0, -3);
    is_deeply [sort keys %{ $f->{a_x}{samples} }], [map { "pool=\"main\",worker=\"$_\"" } 0 .. 2], 'what all have, of all';
    is scalar keys %{ $f->{b_total}{samples} }, 3, 'what some have, of those, and no half line';
    ($f) = $ask->('{"no":"metrics"}', $one, '');
    is_deeply [map { $f->{si_worker_up}{samples}{"pool=\"main\",worker=\"$_\""} } 0 .. 2], [0, 1, 0], 'who says something else has said nothing';

    # a link that dies is counted, and so is its successor
    $w[2]->kill_it;
    my $next = $edge->worker(2, 2002);
    $next->wait_link;
    $w[2] = $next;
    ($f) = $ask->($one, $one, $one);
    is $f->{si_links}{samples}{''}, 3, 'three links again';
    is $f->{si_links_opened_total}{samples}{''}, 4, 'the fourth that came up';

    # streams
    my $s = $edge->get('/s');
    my ($call) = map { $_->has('OPEN') ? $_->call : () } do { SI::Edge::wait_for(sub { grep { $_->has('OPEN') } @w }, 'OPEN'); @w };
    $call->stream->event('1.1', "id: 1.1\ndata: x\n\n")->attach(7, 'c:1');
    $s->wait_body(qr/data: x/);
    ($f) = $ask->($one, $one, $one);
    is $f->{$_}{samples}{''}, 1, "$_ is 1" for qw(si_stream_readers si_stream_opened_total si_logs si_calls);
    $s->close;
    SI::Edge::wait_for(sub { ($f) = $ask->($one, $one, $one); $f->{si_stream_readers}{samples}{''} == 0 }, 'no reader');
    is $f->{si_stream_opened_total}{samples}{''}, 1, 'totals stay';
    is $f->{si_logs}{samples}{''}, 0, 'no log';

    my $h = $edge->client("HEAD /metrics HTTP/1.1\r\nHost: t\r\n\r\n");
    $_->call->head(500)->end for @w;
    is $h->wait_head && $h->status, 200, 'HEAD';
    $h->close;
    my $p = $edge->client("POST /metrics HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n");
    is $p->wait_head && $p->status, 405, 'nothing else';
    $p->close;
    $edge->stop;
};

subtest 'a whole Si' => sub {
    my $model = SI::Model->start;
    my $si = SI::Test->start(workers => 2, nginx_workers => 2, model => $model);
    my $get = sub {
        my $r = $si->http(GET => '/metrics');
        is $r->{status}, 200, 'answered';
        my $f = eval { parse($r->{body}) };
        is $@, '', 'in the format';
        return $f;
    };
    my $sum = sub { my ($f, $name) = @_; my $n = 0; $n += $_ for values %{ $f->{$name}{samples} }; return $n };
    my $f = $get->();
    is_deeply { map { $_ => $f->{$_}{type} } keys %$f }, \%told, 'the names and types are those of README.md';
    is $sum->($f, 'si_worker_up'), 2, 'both workers are up';
    is $sum->($f, 'si_worker_turns_running'), 0, 'no turn runs';
    is $sum->($f, 'si_worker_redis_up'), 2, 'Redis is there';
    is $f->{si_links}{samples}{''}, 4, 'each nginx process has a link to each worker';

    $model->next(kind => 'step');
    my $c = $si->json(POST => '/v1/conversations', {})->{json};
    my $s = $si->stream(POST => "/v1/conversations/$c->{id}/turns", { input => 'x' });
    $s->wait_event('turn.started');
    $f = $get->();
    is $sum->($f, 'si_worker_turns_running'), 1, 'a turn runs';
    is $sum->($f, 'si_stream_readers'), 1, 'and is read';
    my $status = $si->status;
    is $f->{si_stream_readers}{samples}{''}, $status->{edge}{readers}, '/status says the same';
    $model->wait_request(1);
    $model->go(1, 'y');
    $model->finish(1);
    $s->until_end;
    my $keys = $status->{edge}{keys};
    is_deeply $f->{si_auth_keys_total}{samples}, { map { ("result=\"$_\"" => $keys->{$_}) } qw(known refused unknown) }, 'of keys, too';
    is $sum->($f, 'si_auth_keys_total'), 2, 'two requests came with one';
    is_deeply $f->{si_auth_cache_keys}{samples}, { map { ("verdict=\"$_\"" => $keys->{kept}{$_}) } qw(good bad) }, 'and of those that are kept';
    is $f->{si_auth_cache_keys}{samples}{'verdict="good"'}, 1, 'which is that one';
    my $before = $f->{si_requests_total}{samples}{''};
    poll_until { $f = $get->(); $sum->($f, 'si_worker_turns_running') == 0 && $f->{si_stream_readers}{samples}{''} == 0 } 30, 'the end of the turn';
    $si->reload_nginx;
    $f = $get->();
    cmp_ok $f->{si_requests_total}{samples}{''}, '>=', $before, 'a reload keeps the totals';
    is $si->http(GET => '/metrics', { 'X-Si-Internal' => 1 })->{status}, 200, 'the machine itself may ask';
};

done_testing;
