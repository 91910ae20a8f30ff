# The nginx program is replaced under load (USR2, WINCH, QUIT), old processes are pressed to leave, and memory comes back.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use SI::Model;
use SI::Test;
use SI::Test::Api;

my $READERS = 20;
my $SLACK = 1024;       # KiB

my $model = SI::Model->start;
our $si = SI::Test->start(workers => 2, nginx_workers => 2, model => $model, nginx => 'si_stream_drain 1s');
# Leaks are not looked for in nginx, which frees nothing at its end; but an upgrade hands its program no environment.
$si->allow(qr/LeakSanitizer|AddressSanitizer: \d+ byte\(s\) leaked/);
my $pid_file = $si->dir . '/run/nginx.pid';

sub pid_in { my ($pid) = slurp($_[0]) =~ /^(\d+)/; return $pid }
sub gone { my @pids = @_; poll_until { !grep { SI::Test::alive($_) } @pids } 60, "the end of @pids" }
sub ids { join ' ', map { $_->{id} } @_ }

# A turn whose answer waits for the test: its stream, and its number among the model's requests.
sub stepped {
    my $conv = shift;
    my $n = $model->count + 1;
    $model->next(kind => 'step');
    my $s = $si->stream(POST => "/v1/conversations/$conv/turns", { input => 'Go on.' });
    $s->wait_event('turn.started');
    $model->wait_request($n);
    return ($s, $n);
}

# A reader that comes back with its last id whenever its stream ends, as a browser does. `whole`: by a whole answer.
sub follow {
    my $path = shift;
    my $r = { path => $path, got => [], opened => 0, whole => 0 };
    again($r);
    return $r;
}

sub again {
    my $r = shift;
    $r->{opened}++;
    $r->{stream} = $si->stream(GET => $r->{path}, undef, defined $r->{last} ? { 'Last-Event-ID' => $r->{last} } : {});
}

# Reads on all of them until each has that event, reconnecting who was sent away.
sub read_all {
    my ($readers, $until, $what) = @_;
    my $end = now_ms() + 60_000;
    while (1) {
        for my $r (@$readers) {
            my $s = $r->{stream};
            $s->pump(0) until $s->ended || !$s->pump(0);
            while (my $e = $s->events ? $s->next_event : undef) { push @{ $r->{got} }, $e }
            $r->{last} = $s->{last_id} if defined $s->{last_id};
            next unless $s->ended;
            $r->{whole}++ if $s->complete;
            $r->{retry} = $s->{retry};
            again($r);
        }
        return if $until->();
        die "timed out waiting for $what\n" if now_ms() > $end;
        select undef, undef, undef, 0.02;
    }
}

sub have { my ($r, $id) = @_; return scalar grep { $_->{id} eq $id } @{ $r->{got} } }

# Turns one after the other on connections of their own: as many as completed, and what else they came to.
sub load_start {
    pipe my $r, my $w or die "pipe: $!";
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        my ($stop, $ok, @bad) = (0, 0);
        local $SIG{TERM} = sub { $stop = 1 };
        until ($stop) {
            my $how = eval {
                my $s = $si->stream(POST => '/v1/conversations/' . conversation($si) . '/turns', { input => 'load', model => 'offline' });
                my $e = $s->wait_event(qr/^turn\.(?:completed|failed)/);
                $s->until_end;
                $s->complete ? $e->{event} : "cut ($s->{ended})";
            } // "died: $@";
            $how eq 'turn.completed' ? $ok++ : push @bad, $how =~ s/\s+/ /gr;
            syswrite $w, "$ok\n" unless @bad;
        }
        syswrite $w, "end $ok " . join('; ', @bad) . "\n";
        POSIX::_exit(0);
    }
    close $w;
    return { pid => $pid, from => $r };
}

sub load_stop {
    my $load = shift;
    kill TERM => $load->{pid};
    local $SIG{ALRM} = sub { die "the load does not end\n" };
    alarm 60;
    my @lines = readline $load->{from};
    alarm 0;
    waitpid $load->{pid}, 0;
    my ($ok, $bad) = $lines[-1] =~ /^end (\d+) (.*)/;
    return ($ok, $bad);
}

subtest 'binary upgrade' => sub {
    my ($quiet, @busy) = map { conversation($si) } 1 .. 3;
    my @readers = map { follow("/v1/conversations/$quiet/events") } 1 .. $READERS;
    read_all(\@readers, sub { !grep { !defined $_->{stream}{last_id} } @readers }, 'readers');
    my @running = map { [stepped($_)] } @busy;
    my $load = load_start();
    my $old = $si->nginx_pid;
    my @old = $si->nginx_pids;

    kill USR2 => $old;
    poll_until { (pid_in("$pid_file.oldbin") // 0) == $old && (pid_in($pid_file) // $old) != $old } 30, 'the new master';
    my $new = pid_in($pid_file);
    poll_until { my @now = $si->nginx_pids; @now >= 2 } 30, 'its workers';
    poll_until { 2 * 4 <= (() = slurp($si->dir . '/logs/worker.log') =~ /"link opened"/g) } 30, 'its links';
    pass 'a new master and its workers have links to every si-worker';
    is scalar(grep { SI::Test::alive($_) } $old, @old), 3, 'beside the old ones';
    $model->go($_->[1], 'both ') for @running;
    is $_->[0]->wait_event('delta')->{data}{text}, 'both ', 'a running answer goes on' for @running;

    kill WINCH => $old;
    read_all(\@readers, sub { !grep { $_->{opened} < 2 || !defined $_->{stream}{last_id} } @readers }, 'readers to come back');
    is scalar(grep { $_->{whole} != 1 } @readers), 0, 'quiet streams were asked to come back, by a whole answer each';
    my %when = map { $_->{retry} => 1 } @readers;
    is scalar(grep { !/^\d+$/ || $_ < 500 || $_ > 2500 } keys %when), 0, 'which says when';
    cmp_ok scalar(keys %when), '>', $READERS / 2, 'each at another time';
    ok SI::Test::alive($old), 'the old master waits, in case that the new program is no good';
    cmp_ok scalar(grep { SI::Test::alive($_) } @old), '>', 0, 'its workers stay as long as answers run';

    my ($sender) = stepped_turn($quiet);
    read_all(\@readers, sub { !grep { !have($_, $sender) } @readers }, 'the turn');
    $model->go($_->[1], 'old and new') for @running;
    $model->finish($_->[1]) for @running;
    for (@running) {
        is $_->[0]->wait_event('turn.completed')->{data}{message}{content}, 'both old and new', 'and ends on its stream';
        $_->[0]->until_end;
        ok $_->[0]->complete, 'whole';
    }
    gone(@old);
    kill QUIT => $old;
    gone($old);
    poll_until { !-e "$pid_file.oldbin" } 30, 'the end of the old pid file';
    pass 'the old processes have gone';

    my ($ok, $bad) = load_stop($load);
    cmp_ok $ok, '>', 0, "$ok turns under way completed meanwhile";
    is $bad, '', 'and none came to anything else';
    my $want = ids(@{ $readers[0]{got} });
    is scalar(grep { ids(@{ $_->{got} }) ne $want } @readers), 0, 'every reader has every event once';
    like $want, qr/^1\.1 1\.2 .*\Q$sender\E$/, 'from the first to the last';
    is $si->nginx_pid, $new, 'the new master reigns';
    my $status;
    poll_until { $status = $si->status; $status && $status->{edge}{readers} == $READERS } 30, 'the gauge of readers';
    is $status->{edge}{readers}, $READERS, 'it counts its readers';
    is scalar(@{ $status->{workers} }), 2, 'and reaches both workers';
    is scalar(grep { $_->{error} } @{ $status->{workers} }), 0, 'without an error';
    $_->{stream}->close for @readers;
    poll_until { $status = $si->status; $status && $status->{edge}{readers} == 0 && $status->{edge}{calls} == 0 } 30, 'the end of the readers';
    is $status->{edge}{logs}, 0, 'nothing is left of them';
};

# A whole turn in that conversation; the id of its last event.
sub stepped_turn {
    my $conv = shift;
    my ($s, $n) = stepped($conv);
    $model->go($n, "$_ ") for 1 .. 3;
    $model->finish($n);
    my $last = $s->wait_event('turn.completed')->{id};
    $s->until_end;
    return $last;
}

subtest 'an upgrade that is called off' => sub {
    my $conv = conversation($si);
    my ($old, @old) = ($si->nginx_pid, $si->nginx_pids);
    kill USR2 => $old;
    poll_until { (pid_in("$pid_file.oldbin") // 0) == $old && (pid_in($pid_file) // $old) != $old } 30, 'the new master';
    my $new = pid_in($pid_file);
    poll_until { my @now = SI::Test::children($new); @now >= 2 } 30, 'its workers';
    my @new = SI::Test::children($new);
    # Whoever is asked now, the old or the new: the readers of the new one come back to the old one.
    my @readers = map { follow("/v1/conversations/$conv/events") } 1 .. $READERS;
    read_all(\@readers, sub { !grep { !defined $_->{stream}{last_id} } @readers }, 'readers');
    kill QUIT => $new;
    gone(@new, $new);
    poll_until { (pid_in($pid_file) // 0) == $old } 30, 'the old pid file';
    my $last = stepped_turn($conv);
    read_all(\@readers, sub { !grep { !have($_, $last) } @readers }, 'the turn');
    my $want = ids(@{ $readers[0]{got} });
    is scalar(grep { ids(@{ $_->{got} }) ne $want } @readers), 0, 'loses nothing';
    is join(' ', $si->nginx_pids), "@old", 'and the old workers serve on';
    $_->{stream}->close for @readers;
};

# PSS of a process in KiB.
sub pss { my ($n) = slurp("/proc/$_[0]/smaps_rollup") =~ /^Pss:\s+(\d+)/m; return $n // 0 }

subtest 'memory' => sub {
    # The sanitizer must not keep what was freed.
    my $one = SI::Test->start(workers => 1, nginx_workers => 1, model => $model,
        env => { ASAN_OPTIONS => 'quarantine_size_mb=0:thread_local_quarantine_size_kb=0' });
    local $si = $one;
    my ($edge) = $one->nginx_pids;
    my $conv = conversation($one);
    my $sockets = sub { scalar grep { (readlink($_) // '') =~ /socket/ } glob "/proc/$edge/fd/*" };
    my ($before, @after) = $sockets->();
    for my $round (1 .. 4) {
        my @readers = map { $one->stream(GET => "/v1/conversations/$conv/events") } 1 .. 200;
        SI::Test::Stream->pump_all(\@readers, sub { !grep { !defined $_->{last_id} } @readers }, 60, 'readers');
        my $last = stepped_turn($conv);
        SI::Test::Stream->pump_all(\@readers, sub { !grep { ($_->{last_id} // '') ne $last } @readers }, 60, 'the turn');
        $round % 2 ? $_->close : $_->rst for @readers;
        poll_until { my $s = $one->status; $s && $s->{edge}{readers} == 0 && $s->{edge}{logs} == 0 } 30, 'no readers';
        push @after, pss($edge);
    }
    # The first round fills what nginx and malloc keep; later ones find it there.
    cmp_ok $after[-1] - $after[0], '<', $SLACK, "200 readers come and go and leave nothing (KiB after each time: @after)";
    cmp_ok $sockets->(), '<=', $before + 2, 'nor a socket';
};

subtest 'worker_shutdown_timeout' => sub {
    my $one = SI::Test->start(workers => 2, nginx_workers => 1, model => $model,
        nginx => 'worker_shutdown_timeout 1s;si_stream_drain 60s');
    local $si = $one;
    my ($conv, $busy) = map { conversation($one) } 1, 2;
    my @readers = map { follow("/v1/conversations/$conv/events") } 1 .. $READERS;
    read_all(\@readers, sub { !grep { !defined $_->{stream}{last_id} } @readers }, 'readers');
    my ($sender, $n) = stepped($busy);
    my ($first) = $sender->seen;
    my $lost = follow("/v1/conversations/$busy/events");
    read_all([$lost], sub { have($lost, '1.2') }, 'the running turn');
    my @old = $one->reload_nginx;
    gone(@old);
    pass 'the old process leaves though streams are open';
    $sender->until_end;
    ok !$sender->complete, 'a stream that was cut is not called whole';
    # Opened before the turn ends: a finished turn is answered from the store, without its deltas.
    my $turn = $si->stream(GET => "/v1/turns/$first->{data}{turn}/events", undef, { 'Last-Event-ID' => $sender->{last_id} });
    $turn->head;
    $model->go($n, 'after the cut');
    $model->finish($n);
    is $turn->wait_event('turn.completed')->{data}{message}{content}, 'after the cut', 'its turn is resumed, and was not begun again';
    my $end = $turn->{last_id};
    my $last = stepped_turn($conv);
    read_all([@readers, $lost], sub { have($lost, $end) && !grep { !have($_, $last) } @readers }, 'the turns');
    is ids(@{ $lost->{got} }), ids($sender->seen, $turn->seen), 'its reader has every event once';
    my $want = ids(@{ $readers[0]{got} });
    is scalar(grep { ids(@{ $_->{got} }) ne $want } @readers), 0, 'and so have the others';
    $_->{stream}->close for @readers, $lost;
    unlike slurp($one->dir . '/logs/nginx.log'), qr/open socket|\[alert\]|\[crit\]/, 'no complaint about open sockets';
};

done_testing;
