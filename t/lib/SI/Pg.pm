package SI::Pg;

# A private Postgres for a test: a cluster of its own in a temporary folder, on a unix socket only, fsync off, superuser
# postgres without a password. As root it runs as the system's user postgres. Stopped and removed at the end.
#
#   my $pg = SI::Pg->start;
#   $pg->sql('CREATE DATABASE si', 'postgres');
#   $pg->conninfo('si_worker', 'si');

use strict;
use warnings;
use File::Path ();
use File::Temp ();
use POSIX ();

my @running;
my $owner = $$;

# A program of PostgreSQL, which Debian does not put into the path.
sub program {
    my $name = shift;
    my ($found) = grep { -x } reverse(sort glob "/usr/lib/postgresql/*/bin/$name"), map { "$_/$name" } split /:/, $ENV{PATH};
    return $found // die "$name of PostgreSQL is not installed\n";
}

# Runs a command as the server's user in its folder, its output into the log. True if it succeeded.
sub run {
    my ($self, @command) = @_;
    unshift @command, 'runuser', '-u', 'postgres', '--' if $> == 0;
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        chdir $self->{dir};
        open STDIN, '<', '/dev/null';
        open STDOUT, '>>', "$self->{dir}/commands.log";
        open STDERR, '>&', \*STDOUT;
        exec @command or POSIX::_exit(127);
    }
    waitpid $pid, 0;
    return $? == 0;
}

sub log {
    my $self = shift;
    my $text = '';
    for my $file (qw(commands.log server.log)) {
        open my $fh, '<', "$self->{dir}/$file" or next;
        $text .= join '', <$fh>;
    }
    return $text;
}

# Options: settings of the server, as shared_buffers => '16MB'.
sub start {
    my ($class, %set) = @_;
    my $self = bless { dir => File::Temp::tempdir('si-pg-XXXXXX', TMPDIR => 1) }, $class;
    my $dir = $self->{dir};
    if ($> == 0) {
        my ($uid, $gid) = (getpwnam 'postgres')[2, 3];
        chown $uid, $gid, $dir or die "chown $dir: $!";
        chmod 0711, $dir;
    }
    %set = (listen_addresses => "''", unix_socket_directories => $dir, fsync => 'off', shared_buffers => '16MB', %set);
    my $options = join ' ', map { "-c $_=$set{$_}" } sort keys %set;
    $self->run(program('initdb'), '-D', "$dir/data", qw(-A trust -U postgres -E UTF8 --locale=C.UTF-8 -N))
        && $self->run(program('pg_ctl'), '-D', "$dir/data", qw(-w -t 60 -l), "$dir/server.log", '-o', $options, 'start')
        or die "no Postgres: " . $self->log;
    push @running, $self;
    return $self;
}

sub conninfo {
    my ($self, $user, $database) = @_;
    return "host=$self->{dir} user=$user dbname=$database";
}

# Runs SQL as the superuser; returns what psql prints without decoration.
sub sql {
    my ($self, $sql, $database) = @_;
    open my $out, '-|', program('psql'), qw(-X -q -A -t -v ON_ERROR_STOP=1 -d), $self->conninfo('postgres', $database), '-c', $sql
        or die "psql: $!";
    my $text = do { local $/; <$out> } // '';
    close $out or die "psql failed: $sql\n";
    chomp $text;
    return $text;
}

sub stop {
    my $self = shift;
    return unless $self->{dir};
    $self->run(program('pg_ctl'), '-D', "$self->{dir}/data", qw(-w -t 60 -m immediate stop));
    File::Path::remove_tree($self->{dir});
    $self->{dir} = undef;
}

END {
    if ($$ == $owner) {
        my $status = $?;
        $_->stop for @running;
        $? = $status;
    }
}

1;
