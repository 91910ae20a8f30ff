package SI::Issuer;

# An issuer of tokens as far as its keys go: an HTTP server in a process of its own that answers GET with what the test put
# there. Core Perl only.
#
#   my $issuer = SI::Issuer->start($folder);
#   $issuer->put('/jwks.json', $text, 'Cache-Control' => 'max-age=60');
#   $issuer->fail('/jwks.json', status => 500);         # or hang => 1: no answer
#   $issuer->asked('/jwks.json');                       # how often
#   $issuer->stop; … $issuer->up;                       # on the same port

use strict;
use warnings;
use IO::Socket::INET;
use JSON::PP ();
use POSIX ();
use Time::HiRes qw(sleep);

my $json = JSON::PP->new->utf8;
my @running;
my $owner = $$;

sub start {
    my ($class, $folder) = @_;
    mkdir "$folder/issuer" or die "$folder/issuer: $!";
    my $self = bless { folder => "$folder/issuer", port => 0 }, $class;
    push @running, $self;
    return $self->up;
}

sub url { "http://127.0.0.1:$_[0]{port}" }
sub file { my ($self, $path, $end) = @_; (my $name = $path) =~ tr{/}{_}; return "$self->{folder}/$name.$end" }

sub answer {
    my ($self, $path, $how) = @_;
    my $file = $self->file($path, 'answer');
    open my $fh, '>:raw', "$file.new" or die "$file: $!";
    print $fh $json->encode($how);
    close $fh;
    rename "$file.new", $file or die "$file: $!";
}

sub put { my ($self, $path, $body, %headers) = @_; $self->answer($path, { status => 200, body => $body, headers => \%headers }) }
sub fail { my ($self, $path, %how) = @_; $self->answer($path, { body => 'no', headers => {}, %how }) }
sub asked { my ($self, $path) = @_; return -s $self->file($path, 'asked') || 0 }

sub up {
    my $self = shift;
    my $listen = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $self->{port}, Proto => 'tcp', Listen => 64, ReuseAddr => 1) or die "listen: $@";
    $self->{port} = $listen->sockport;
    $self->{pid} = fork // die "fork: $!";
    return $self if $self->{pid};
    $SIG{$_} = 'DEFAULT' for qw(INT TERM);
    $SIG{CHLD} = 'IGNORE';
    setpgrp 0, 0;
    while (1) {
        my $c = $listen->accept or next;
        my $pid = fork // next;
        next if $pid;
        close $listen;
        eval { $self->serve($c) };
        POSIX::_exit(0);
    }
}

sub serve {
    my ($self, $c) = @_;
    my $in = '';
    while ($in !~ /\r\n\r\n/) { sysread $c, $in, 4096, length $in or return }
    my ($path) = $in =~ m{^GET (\S+)} or return;
    open my $log, '>>', $self->file($path, 'asked') or return;
    syswrite $log, '.';
    my $how = eval { open my $fh, '<:raw', $self->file($path, 'answer') or die; local $/; $json->decode(<$fh>) } || { status => 404, body => '', headers => {} };
    if ($how->{hang}) { sleep 60; return }
    my $out = "HTTP/1.1 $how->{status} X\r\nConnection: close\r\nContent-Length: " . length($how->{body}) . "\r\n"
        . join('', map { "$_: $how->{headers}{$_}\r\n" } keys %{ $how->{headers} }) . "\r\n$how->{body}";
    while (length $out) { my $n = syswrite $c, $out or return; substr($out, 0, $n) = '' }
}

# The server and what it is still answering.
sub stop {
    my $self = shift;
    my $pid = delete $self->{pid} or return;
    kill KILL => -$pid, $pid;
    waitpid $pid, 0;
    while (IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $self->{port}, Proto => 'tcp')) { sleep 0.01 }     # a child may hold it yet
}

END { if ($$ == $owner) { my $status = $?; $_->stop for @running; $? = $status } }

1;
