package SI::Test;

# The harness of the end-to-end tests: a whole Si of its own (scripts/up in a fresh state folder and on a free port), an
# HTTP client, event streams, the database, and the processes to kill. Core Perl only.
#
#   use SI::Test;
#   my $si = SI::Test->start(workers => 2, nginx_workers => 1);
#   my $c = $si->json(POST => '/v1/conversations', {})->{json};
#   my $s = $si->stream(POST => "/v1/conversations/$c->{id}/turns", { input => 'hello' });
#   is $s->wait_event('turn.completed')->{data}{…}, …;
#   done_testing;
#
# At the end everything is stopped, and the test file fails when a log holds an [alert], an [emerg], a sanitizer's report
# or an alert of the worker, or when a process was left.

use strict;
use warnings;
use Cwd ();
use Exporter 'import';
use Fcntl qw(:flock);
use File::Basename ();
use File::Path ();
use File::Temp ();
use IO::Handle;
use IO::Socket::INET;
use JSON::PP ();
use POSIX ();
use Test::More ();
use Time::HiRes qw(sleep);
use SI::Test::Stream;

our @EXPORT = qw(poll_until free_port slurp root now_ms);
our @EXPORT_OK = qw(run_unit);
our $TIMEOUT = $SI::Test::Stream::TIMEOUT;

my $root = Cwd::abs_path(File::Basename::dirname(__FILE__) . '/../../..');
my $json = JSON::PP->new->utf8->canonical->allow_nonref;
my (@running, @port_locks);
my $owner = $$;
$SIG{$_} ||= sub { exit 1 } for qw(INT TERM HUP);      # so that END runs

sub root { $root }
sub now_ms { int(1000 * SI::Test::Stream::now()) }

sub slurp {
    my $file = shift;
    open my $fh, '<:raw', $file or return '';
    local $/;
    return scalar(<$fh>) // '';
}

# Calls the block every 10 ms until it is true, and returns that value. Dies at the deadline.
sub poll_until(&;$$) {
    my ($cond, $timeout, $what) = @_;
    my $end = SI::Test::Stream::now() + (defined $timeout ? $timeout : $TIMEOUT);
    while (1) {
        my $value = $cond->();
        return $value if $value;
        die 'timed out waiting for ' . ($what || 'a condition') . "\n" if SI::Test::Stream::now() > $end;
        sleep 0.01;
    }
}

# A port that is free, below the range that the kernel hands out, and that no other test file takes as long as this one runs.
sub free_port {
    for (1 .. 500) {
        my $port = 20000 + int rand 12000;
        open my $lock, '>>', "/tmp/si-test-port-$port.lock" or next;
        next unless flock $lock, LOCK_EX | LOCK_NB;
        my $probe = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $port, Proto => 'tcp', Listen => 1, ReuseAddr => 1);
        next unless $probe;
        close $probe;
        push @port_locks, [$lock, "/tmp/si-test-port-$port.lock"];
        return $port;
    }
    die "found no free port\n";
}

sub build_dir { my $d = $ENV{SI_BUILD} || "$root/.build/release"; $d =~ m{^/} ? $d : "$root/$d" }

# Runs a unit program that needs servers, with more environment, as a subtest: its TAP is passed on, indented. Returns its log,
# in which no sanitizer had something to say and $alerts lines are alerts.
sub run_unit {
    my ($program, $name, $alerts, %env) = @_;
    my ($err, $log) = File::Temp::tempfile('si-unit-XXXXXX', TMPDIR => 1, UNLINK => 1);
    my $pid = open(my $out, '-|') // die "fork: $!";
    if (!$pid) {
        %ENV = (%ENV, %env);
        open STDERR, '>&', $err;
        exec build_dir() . "/unit/$program" or POSIX::_exit(127);
    }
    my ($plan, $bad) = (0, '');
    local $SIG{ALRM} = sub { kill KILL => $pid };
    alarm 240;
    while (my $line = <$out>) {
        $plan = $1 if $line =~ /^1\.\.(\d+)/;
        $bad .= $line if $line =~ /^not ok/ || ($bad ne '' && $line =~ /^#/);
        print "    $line";
    }
    alarm 0;
    close $out;
    my $status = $?;
    my $text = slurp($log);
    Test::More::ok($status == 0 && $plan > 0, "unit program $name")
        or Test::More::diag("status $status, plan $plan\n$bad", (split /^/, $text)[-60 .. -1]);
    Test::More::unlike($text, qr/Sanitizer|runtime error:/, "$name: no word of a sanitizer");
    Test::More::is(scalar(() = $text =~ /"level":"alert"/g), $alerts, "$name: alerts only where the test asks for them");
    return $text;
}

# Options: workers, nginx_workers (1 each if not given), config (YAML text over conf/si.yaml), nginx ("directive value;…"
# replaced in conf/nginx.conf), model (a SI::Model, becomes the default model), env (hash), http2 (true: a second port),
# limits (true: those of conf/nginx.conf), worker_preload, edge_preload (shared objects), allow (regular expressions of log lines that are expected).
sub start {
    my ($class, %o) = @_;
    my $dir = File::Temp::tempdir('si-t-XXXXXX', DIR => '/tmp');
    chmod 0755, $dir;
    my $self = bless { %o, dir => $dir, port => free_port(), allow => $o{allow} || [] }, $class;
    $self->{http2_port} = free_port() if $o{http2};
    push @running, $self;
    $self->up;
    return $self;
}

# One more node on the same Postgres and Redis: an object like the first one, stopped before it.
sub node {
    my ($first, $n, %o) = @_;
    my $self = bless { %$first, %o, node => $n, dir => "$first->{dir}/node-$n", base => $first->{dir}, port => free_port(), up => 0 }, ref $first;
    $self->{allow} = [@{ $first->{allow} }];
    unshift @running, $self;
    $self->up;
    return $self;
}

sub overlay {
    my $self = shift;
    my $text = $self->{model} ? $self->{model}->config : '';
    $text .= $self->{config} if defined $self->{config};
    return $text;
}

# The environment and the command that start what start() described.
sub up_command {
    my $self = shift;
    my $overlay = $self->overlay;
    my %env = (
        SI_BUILD => build_dir(), SI_PG_OPTIONS => '-c fsync=off', OPENAI_API_KEY => '', SI_CONFIG => '',
        SI_TEST_MODEL_KEY => 'test-key', SI_NGINX_SET => $self->{nginx} || '', SI_HTTP2_PORT => $self->{http2_port} || '',
        SI_WORKER_PRELOAD => $self->{worker_preload} || '', SI_EDGE_PRELOAD => $self->{edge_preload} || '',
        %{ $self->{env} || {} });
    if (length $overlay) {
        $env{SI_CONFIG} = ($self->{base} || $self->{dir}) . ($self->{node} ? "/overlay-$self->{node}.yaml" : '/overlay.yaml');
        open my $fh, '>:raw', $env{SI_CONFIG} or die "$env{SI_CONFIG}: $!";
        print $fh $overlay;
        close $fh;
    }
    return ({ env => \%env }, "$root/scripts/up", '--state', $self->{base} || $self->{dir}, $self->{node} ? ('--node', $self->{node}) : (), '--port', $self->{port},
        '--workers', $self->{workers} || 1, '--nginx-workers', $self->{nginx_workers} || 1, $self->{limits} ? () : '--no-limits', '--detach');
}

# Starts it (again, with the same database).
sub up {
    my $self = shift;
    my ($rc, $out) = run($self->up_command);
    if ($rc != 0) {
        Test::More::diag($out);
        Test::More::BAIL_OUT('scripts/up does not work') if $self->{bail};
        die "scripts/up failed\n";
    }
    $self->{up} = 1;
    my %e = slurp("$self->{dir}/env") =~ /^(\w+)='?(.*?)'?$/mg;
    $self->{env_file} = \%e;
    return $self;
}

# Begins a command without standard input that prints into a handle; its pid.
sub spawn {
    my ($o, $out, @cmd) = @_;
    my $pid = fork // die "fork: $!";
    return $pid if $pid;
    %ENV = (%ENV, %{ $o->{env} || {} });
    delete $ENV{$_} for grep { $ENV{$_} eq '' } keys %{ $o->{env} || {} };
    open STDIN, '<', '/dev/null';
    open STDOUT, '>&', $out;
    open STDERR, '>&', $out;
    chdir $o->{dir} if $o->{dir};
    exec { $cmd[0] } @cmd or POSIX::_exit(127);
}

# Runs such a command; returns its exit status and all that it printed.
sub run {
    my ($o, @cmd) = @_;
    pipe my $r, my $w or die "pipe: $!";
    my $pid = spawn($o, $w, @cmd);
    close $w;
    local $/;
    my $out = <$r>;
    waitpid $pid, 0;
    return ($? >> 8 || $? & 127, defined $out ? $out : '');
}

sub url  { $_[0]{env_file}{SI_URL} }
sub key  { $_[0]{env_file}{SI_KEY} }
sub port { $_[0]{port} }
sub dir  { $_[0]{dir} }
sub http2_url { $_[0]{env_file}{SI_HTTP2_URL} }

# --- HTTP ---

sub auth { my ($self, $headers) = @_; return { Authorization => 'Bearer ' . $self->key, %{ $headers || {} } } }

# One request on its own connection: { status, headers (names in lower case), body, ended, complete }. No key is added.
sub http {
    my ($self, $method, $path, $headers, $body, %o) = @_;
    my $s = SI::Test::Stream->new(port => $self->{port}, method => $method, path => $path, keep_body => 1,
        headers => { Connection => 'close', %{ $headers || {} } }, request_body => $body, %o);
    return answer($s, $o{timeout});
}

# The bytes as they are, in one connection; the answer as http() gives it.
sub raw {
    my ($self, $bytes, %o) = @_;
    return answer(SI::Test::Stream->new(port => $self->{port}, raw_request => $bytes, path => 'raw', keep_body => 1, %o), $o{timeout});
}

sub answer {
    my ($s, $timeout) = @_;
    $s->head($timeout);
    my $body = $s->body($timeout);
    return { status => $s->status, headers => $s->headers, body => $body, ended => $s->ended, complete => $s->complete, raw_head => $s->{raw_head} };
}

# A request of the API with the key; data (if given) is sent as JSON. http()'s answer with {json} decoded.
sub json {
    my ($self, $method, $path, $data, $headers, %o) = @_;
    my $body = defined $data ? (ref $data ? $json->encode($data) : $data) : undef;
    my $r = $self->http($method, $path, $self->auth({ defined $body ? ('Content-Type' => 'application/json') : (), %{ $headers || {} } }), $body, %o);
    $r->{json} = eval { $json->decode($r->{body}) };
    return $r;
}

# An event stream with the key: a SI::Test::Stream whose request is sent. Options as its new().
sub stream {
    my ($self, $method, $path, $data, $headers, %o) = @_;
    my $body = defined $data ? (ref $data ? $json->encode($data) : $data) : undef;
    return SI::Test::Stream->new(port => $self->{port}, method => $method, path => $path, request_body => $body,
        headers => $self->auth({ Accept => 'text/event-stream', defined $body ? ('Content-Type' => 'application/json') : (), %{ $headers || {} } }), %o);
}

# --- the state and its processes ---

# Rows of a query, run by the superuser (no row-level security), as array references of text. With one column: of scalars.
sub pg {
    my ($self, $sql) = @_;
    my ($rc, $out) = run({}, 'psql', '-X', '-A', '-t', '-q', '-F', "\x1f", '-v', 'ON_ERROR_STOP=1', '-d', $self->{env_file}{SI_ADMIN_DATABASE_URL}, '-c', $sql);
    die "psql: $out" if $rc;
    my @rows = map { [split /\x1f/, $_, -1] } split /\n/, $out;
    return (@rows && @{ $rows[0] } == 1) ? map { $_->[0] } @rows : @rows;
}

# Locks rows of a table, and waits until that is so: a handle for unlock(). Whoever writes them waits as long. Without a
# condition it is the whole table, and whoever reads it waits, too.
sub lock {
    my ($self, $table, $where) = @_;
    open my $psql, '|-', 'psql', '-X', '-q', '-d', $self->{env_file}{SI_ADMIN_DATABASE_URL}, '-o', '/dev/null' or die "psql: $!";
    $psql->autoflush(1);
    print $psql 'begin; ', defined $where ? "select 1 from $table where $where for update" : "lock table $table", ";\n";
    my $mode = defined $where ? 'RowShareLock' : 'AccessExclusiveLock';
    poll_until {
        $self->pg("select 1 from pg_locks l join pg_class c on c.oid = l.relation where c.relname = '$table' and mode = '$mode' and granted")
    } $TIMEOUT, "a lock of $table";
    return $psql;
}

sub unlock {
    my ($self, $psql) = @_;
    print $psql "commit;\n";
    close $psql;
}

sub redis { my ($self, @cmd) = @_; (my $sock = $self->{env_file}{SI_REDIS_URL}) =~ s{^unix://}{}; my (undef, $out) = run({}, 'redis-cli', '-s', $sock, @cmd); chomp $out; return $out }

sub status { my $r = $_[0]->http(GET => '/status'); return eval { $json->decode($r->{body}) } }

sub children {
    my $parent = shift;
    my @pids;
    for my $stat (glob '/proc/[0-9]*/stat') {
        my ($pid, $state, $ppid) = slurp($stat) =~ /^(\d+) \(.*\) (\S) (\d+)/s or next;
        push @pids, $pid if $ppid == $parent && $state ne 'Z';
    }
    return sort { $a <=> $b } @pids;
}

sub master_pid  { my $self = shift; (slurp("$self->{dir}/run/master.pid") =~ /^(\d+)/)[0] || $self->{env_file}{SI_MASTER_PID} }
sub nginx_pid   { my $self = shift; (slurp("$self->{dir}/run/nginx.pid") =~ /^(\d+)/)[0] || $self->{env_file}{SI_NGINX_PID} }
sub worker_pids { children($_[0]->master_pid) }
# Without those that are leaving after a reload, unless asked for.
sub nginx_pids  { my ($self, $all) = @_; return grep { $all || slurp("/proc/$_/cmdline") !~ /shutting down/ } children($self->nginx_pid) }

sub alive { my $pid = shift; return -e "/proc/$pid" && slurp("/proc/$pid/status") !~ /^State:\s+Z/m }

# Ends this node's nginx and pool, and leaves Postgres and Redis to other nodes.
sub leave_stores {
    my $self = shift;
    my @pids = ($self->nginx_pid, $self->master_pid);
    kill TERM => @pids;
    poll_until { !grep { alive($_) } @pids } $TIMEOUT, 'the end of nginx and the pool';
}

# Kills a further node, all its processes at once. A child that its master makes meanwhile dies in the next round.
sub kill_node {
    my $self = shift;
    $self->allow(qr/exited on signal 9/);
    poll_until { my @pids = $self->leftovers or return 1; kill KILL => @pids; 0 } $TIMEOUT, "the end of node $self->{node}";
}

# Starts it again; does not wait: the pid of scripts/up, which ends with 0 when the node is ready.
sub start_node {
    my $self = shift;
    open my $log, '>>', "$self->{dir}/logs/up.log" or die "up.log: $!";
    my ($o, @cmd) = $self->up_command;
    return spawn($o, $log, @cmd);
}

# Kills a process and waits until it has gone.
sub kill9 {
    my ($self, $pid) = @_;
    $self->allow(qr/exited on signal 9/);
    kill KILL => $pid;
    poll_until { !alive($pid) } $TIMEOUT, "the end of process $pid";
}

# Postgres of this state folder: its first process, and its children.
sub postgres_pids {
    my $self = shift;
    my ($first) = slurp("$self->{dir}/pg/postmaster.pid") =~ /^(\d+)/ or return;
    return ($first, children($first));
}

# Kills a worker's connection, so that Postgres drops all of them and recovers.
sub crash_postgres {
    my $self = shift;
    my ($pid) = grep { slurp("/proc/$_/cmdline") =~ /si_worker/ } $self->postgres_pids or return;
    return kill KILL => $pid;
}

# Stops Postgres in order, and remembers how it ran.
sub stop_postgres {
    my $self = shift;
    my ($pid) = $self->postgres_pids;
    $self->{postgres} = { cmd => [split /\0/, slurp("/proc/$pid/cmdline")], map { $_ => (slurp("/proc/$pid/status") =~ /^$_:\s+(\d+)/m)[0] } qw(Uid Gid) };
    kill INT => $pid;
    poll_until { !alive($pid) } $TIMEOUT, 'the end of Postgres';
}

# Starts it again so, and does not wait.
sub start_postgres {
    my $self = shift;
    my $p = $self->{postgres};
    my @as = $> == 0 ? ('setpriv', "--reuid=$p->{Uid}", "--regid=$p->{Gid}", '--clear-groups', '--') : ();
    run({ dir => "$self->{dir}/pg" }, 'sh', '-c', 'setsid "$@" >>../logs/postgres.log 2>&1 </dev/null &', 'sh', @as, @{ $p->{cmd} });
}

# The running Redis of this state folder, or nothing.
sub redis_pid {
    my $self = shift;
    my $pid = (slurp("$self->{dir}/run/redis.pid") =~ /^(\d+)/)[0];
    return $pid && alive($pid) && (readlink("/proc/$pid/cwd") || '') eq "$self->{dir}/redis" ? $pid : ();
}

# Kills Redis, and remembers who it ran as.
sub kill_redis {
    my $self = shift;
    my $pid = $self->redis_pid or die "no Redis runs in $self->{dir}\n";
    $self->{redis_user} = [map { (slurp("/proc/$pid/status") =~ /^$_:\s+(\d+)/m)[0] } qw(Uid Gid)];
    $self->kill9($pid);
}

# Starts it again as scripts/up does, and waits until it answers.
sub start_redis {
    my $self = shift;
    my ($uid, $gid) = @{ $self->{redis_user} };
    my $dir = $self->{dir};
    my @as = $> == 0 ? ('setpriv', "--reuid=$uid", "--regid=$gid", '--clear-groups', '--') : ();
    run({ dir => "$dir/redis" }, 'sh', '-c', 'setsid "$@" >>../logs/redis.log 2>&1 </dev/null &', 'sh', @as,
        'redis-server', '--port', 0, '--unixsocket', "$dir/run/redis.sock", '--unixsocketperm', 700, '--dir', "$dir/redis",
        '--save', '', '--appendonly', 'no', '--daemonize', 'no', '--pidfile', "$dir/run/redis.pid");
    poll_until { $self->redis('PING') eq 'PONG' } $TIMEOUT, 'Redis';
}

# Reloads nginx and waits until new workers serve; returns the pids of the old ones.
sub reload_nginx {
    my $self = shift;
    my %old = map { $_, 1 } $self->nginx_pids;
    kill HUP => $self->nginx_pid;
    poll_until { my @new = $self->nginx_pids; @new && !grep { $old{$_} } @new } $TIMEOUT, 'new nginx workers';
    return sort { $a <=> $b } keys %old;
}

# --- the end ---

# Log lines that match are expected in this test.
sub allow { my ($self, @re) = @_; push @{ $self->{allow} }, @re }

# Lines of all logs that must not be there.
sub bad_lines {
    my $self = shift;
    my @bad;
    for my $file (glob "$self->{dir}/logs/*") {
        open my $fh, '<', $file or next;
        while (my $line = <$fh>) {
            next unless $line =~ /\[(?:alert|emerg)\]|Sanitizer|runtime error|"level":"alert"|\bPANIC:/;
            chomp $line;
            next if grep { $line =~ $_ } @{ $self->{allow} };
            push @bad, File::Basename::basename($file) . ": $line";
            last if @bad > 20;
        }
    }
    return @bad;
}

# Pids of what works in the state folder still.
sub leftovers {
    my $self = shift;
    my @pids;
    for my $cwd (glob '/proc/[0-9]*/cwd') {
        my $to = readlink $cwd or next;
        my ($pid) = $cwd =~ /(\d+)/;
        push @pids, $pid if "$to/" =~ m{^\Q$self->{dir}\E/} && $pid != $$ && alive($pid);
    }
    return @pids;
}

sub down {
    my $self = shift;
    return unless $self->{up};
    my ($rc, $out) = run({}, "$root/scripts/down", '--state', $self->{dir});
    $self->{up} = 0;
    return $rc == 0 && $out !~ /killing/ ? () : "scripts/down: $out";
}

# Stops all; returns what was wrong (and keeps the folder then).
sub stop {
    my $self = shift;
    return if $self->{stopped}++;
    my @wrong = $self->down;
    push @wrong, $self->bad_lines;
    my @left = $self->leftovers;
    if (@left) {
        push @wrong, map { "process left: $_ " . (slurp("/proc/$_/cmdline") =~ tr/\0/ /r) } @left;
        kill KILL => @left;
    }
    my $keep = @wrong || $ENV{SI_TEST_KEEP} || !Test::More->builder->is_passing || $self->{keep};
    if ($keep) { Test::More::diag("the logs are in $self->{dir}/logs"); $self->show_logs }
    else { File::Path::remove_tree($self->{dir}, { error => \my $ignored }) }
    return @wrong;
}

# The end of the logs that tell most, for a machine whose files nobody will look at.
sub show_logs {
    my $self = shift;
    for my $name (qw(worker.log master.log nginx.log)) {
        my @lines = split /\n/, slurp("$self->{dir}/logs/$name");
        splice @lines, 0, -12 if @lines > 12;
        Test::More::diag("--- $name");
        Test::More::diag(substr $_, 0, 300) for @lines;
    }
}

END {
    if ($$ == $owner) {
        my $status = $?;
        for my $self (@running) {
            $self->{keep} = 1 if $status;
            my @wrong = eval { $self->stop };
            push @wrong, $@ if $@;
            Test::More::diag("$_") for @wrong;
            $status ||= 1 if @wrong;
        }
        unlink $_->[1] for @port_locks;
        $? = $status;
    }
}

1;
