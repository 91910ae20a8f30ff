# scripts/up and scripts/down: what they print, write, refuse, and that nothing is left behind.
use strict;
use warnings;
use lib 't/lib';
use File::Temp qw(tempdir);
use Test::More;
use SI::Model;
use SI::Test;

my $root = root();

sub up {
    my ($dir, $port, $env, @more) = @_;
    return SI::Test::run({ env => { SI_BUILD => SI::Test::build_dir(), SI_PG_OPTIONS => '-c fsync=off', OPENAI_API_KEY => '', SI_CONFIG => '', %{ $env || {} } } },
        "$root/scripts/up", '--state', $dir, '--port', $port, '--workers', 1, '--nginx-workers', 1, '--detach', @more);
}
sub down { SI::Test::run({}, "$root/scripts/down", '--state', shift) }
sub last_line { (split /\n/, shift)[-1] // '' }

# Two of them side by side.
my $one = SI::Test->start(workers => 2, nginx_workers => 2);
my $two = SI::Test->start;

like slurp($one->dir . '/env'), qr/^SI_URL=http:\/\/127\.0\.0\.1:\d+\nSI_KEY=sk_si_\S+\nSI_DATABASE_URL='postgresql:.*'\n/, 'DIR/env';
for my $name (qw(SI_URL SI_KEY SI_DATABASE_URL SI_REDIS_URL SI_NGINX_PID SI_MASTER_PID)) {
    ok length $one->{env_file}{$name}, "DIR/env holds $name";
}
is((stat $one->dir . '/env')[2] & 077, 0, 'and is nobody else\'s');
ok SI::Test::alive($one->{env_file}{$_}), "$_ lives" for qw(SI_NGINX_PID SI_MASTER_PID);
is scalar(my @w = $one->worker_pids), 2, 'as many workers as asked for';
is scalar(my @n = $one->nginx_pids), 2, 'as many nginx workers';
SKIP: {
    skip 'not root', 2 if $>;
    isnt((stat "/proc/$w[0]")[4], 0, 'a worker does not run as root');
    isnt((stat "/proc/$n[0]")[4], 0, 'nor does an nginx worker');
}
is_deeply [$one->pg("SELECT count(*) FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner WHERE r.rolname = 'si_worker'")], [0], 'the worker\'s role owns nothing';
is_deeply [$one->pg("SELECT rolbypassrls, rolsuper FROM pg_roles WHERE rolname = 'si_worker'")], [['f', 'f']], 'and is no superuser';

my ($rc, $out) = up($one->dir, $one->port);
is $rc, 0, 'up on what runs';
like $out, qr/already running/, 'says so';
is last_line($out), 'ready ' . $one->url . ' key ' . $one->key, 'and prints the ready line';

my $spare = tempdir('si-t-XXXXXX', DIR => '/tmp', CLEANUP => 1);
chmod 0755, $spare;
($rc, $out) = up("$spare/s", $one->port);
isnt $rc, 0, 'a port that is in use';
like last_line($out), qr/^up: port \d+ is in use/, 'is named in one line';

# State outlives a stop.
my $c = $one->json(POST => '/v1/conversations', {});
is $c->{status}, 201, 'a conversation' or diag explain $c;
my $key = $one->key;
is_deeply [$one->down], [], 'down';
is_deeply [$one->leftovers], [], 'leaves no process';
ok !-e $one->dir . '/env', 'and no DIR/env';
is $two->http(GET => '/readyz')->{status}, 200, 'the other one goes on';
($rc, $out) = down($one->dir);
is $rc, 0, 'down again';
like $out, qr/nothing was running/, 'says that nothing was running';
$one->up;
is $one->key, $key, 'the key is the same after a new start';
is $one->json(GET => "/v1/conversations/$c->{json}{id}")->{status}, 200, 'and the conversation is there';

# What killed parents leave behind is found, too.
$one->allow(qr/./);
my @pids = ($one->nginx_pids, $one->worker_pids);
kill KILL => $one->nginx_pid, $one->master_pid;
is_deeply [$one->down], [], 'down after the masters were killed';
is_deeply [grep { SI::Test::alive($_) } @pids], [], 'their children are gone';

# Configuration.
my $bad = "$spare/bad.yaml";
open my $fh, '>', $bad or die $!;
print $fh "turn:\n  deadline: never\n";
close $fh;
($rc, $out) = up("$spare/s", free_port(), { SI_CONFIG => $bad });
isnt $rc, 0, 'a wrong configuration';
like $out, qr/bad\.yaml:2: turn\.deadline/, 'is named with file, line and key';
is_deeply [SI::Test::leftovers({ dir => "$spare/s" })], [], 'and nothing stays';
($rc, $out) = up("$spare/s p", free_port());
isnt $rc, 0, 'a state folder with a space is refused';

# A model of one's own by two variables.
my $model = SI::Model->start;
my $own = SI::Test->start(env => { OPENAI_API_KEY => 'sk-own', OPENAI_BASE_URL => $model->base_url, SI_MODEL => 'llama' });
$c = $own->json(POST => '/v1/conversations', {})->{json};
my $t = $own->json(POST => "/v1/conversations/$c->{id}/turns", { input => 'hello' });
is $t->{status}, 200, 'a turn with OPENAI_API_KEY' or diag explain $t;
like $t->{body}, qr/t1 t2 t3 t4 t5/, 'is answered by that model';
is $model->request->{json}{model}, 'llama', 'SI_MODEL is its name';
is $model->request->{headers}{authorization}, 'Bearer sk-own', 'with that key';
unlike slurp($own->dir . '/generated.yaml') . slurp($own->dir . '/logs/worker.log'), qr/sk-own/, 'which is written nowhere';

# A folder that others cannot enter.
SKIP: {
    skip 'not root', 3 if $>;
    my $closed = tempdir('si-t-XXXXXX', DIR => '/tmp', CLEANUP => 1);
    mkdir "$closed/deep";
    my $port = free_port();
    ($rc, $out) = up("$closed/deep", $port);
    like last_line($out), qr/^ready http/, 'a state folder inside a closed one works' or diag $out;
    ok readlink "$closed/deep/data", 'its data lie elsewhere';
    my $data = readlink "$closed/deep/data";
    ($rc) = down("$closed/deep");
    is $rc, 0, 'and down finds them';
    File::Path::remove_tree($data) if $data && $data =~ m{^/var/tmp/si-};
}

# In the foreground Ctrl-C stops everything.
my $dir = "$spare/fg";
pipe my $r, my $w or die;
my $pid = fork // die;
if (!$pid) {
    setpgrp;
    $SIG{INT} = 'DEFAULT';      # in a job in the background a shell has it ignored, and what it starts never learns of it
    close $r;
    open STDIN, '<', '/dev/null';
    open STDOUT, '>&', $w;
    open STDERR, '>&', $w;
    %ENV = (%ENV, SI_BUILD => SI::Test::build_dir(), SI_PG_OPTIONS => '-c fsync=off');
    exec "$root/scripts/up", '--state', $dir, '--port', free_port(), '--workers', 1, '--nginx-workers', 1;
}
close $w;
$out = '';
while (my $line = <$r>) { $out .= $line; last if $line =~ /^ready / }
like last_line($out), qr/^ready http/, 'up in the foreground' or diag $out;
my @all = SI::Test::leftovers({ dir => $dir });
cmp_ok scalar @all, '>=', 5, 'processes run';
kill INT => -$pid;
waitpid $pid, 0;
is $? >> 8, 0, 'Ctrl-C ends it';
is_deeply [grep { SI::Test::alive($_) } @all], [], 'and all that it started';
done_testing;
