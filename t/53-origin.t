# si_origin_secret: who gets in, who its client is taken for, and that the secret is told to nobody.
use strict;
use warnings;
use lib 't/lib';
use JSON::PP ();
use SI::Edge;
use Test::More;

my $new = 'new-secret-0123456789';
my $old = 'old-secret-abcdefghij';
my $other = 'other-secret-4711-0815';

sub put { my ($file, $text) = @_; open my $fh, '>:raw', $file or die "$file: $!"; print $fh $text; close $fh }

my $edge = SI::Edge->new(
    http => q{log_format secret '$http_x_si_origin $si_client_addr $http_user_agent';},
    location => 'si_origin_secret X-Si-Origin secrets;',
);
my %at = map { $_ => SI::Edge::free_port() } qw(viewer hops);
$edge->{http} .= join '', map { "
        server {
            listen 127.0.0.1:$at{$_};
            access_log $edge->{dir}/logs/secret.log secret;
            si_origin_secret X-Si-Origin $edge->{dir}/secrets " . ($_ eq 'viewer' ? 'viewer' : 'hops=2') . ";
            location / { si_pass main; }
            location = /open { si_origin_secret off; si_pass main; }
        }" } sort keys %at;
put("$edge->{dir}/secrets", "$new\r\n\n$old\n");
my $w = $edge->worker(0);
$edge->start;
$w->wait_link;

# The address that the worker gets for a request with these header lines, or the answer of the edge.
sub ask {
    my ($port, $head, $path) = @_;
    local $edge->{port} = $port if $port;
    my $c = $edge->get($path // '/x', head => $head);
    my $call;
    SI::Edge::wait_for(sub { $w->has('OPEN') || $c->whole }, 'OPEN or an answer');
    if ($w->has('OPEN')) {
        $call = $w->call;
        $call->json('{}');
        $c->wait_whole;
    }
    $c->close;
    return ($call, $c);
}
sub addr { my ($call) = ask(@_); return $call ? $call->{addr} : undef }

subtest 'who gets in' => sub {
    for my $right ($new, $old) {
        my ($call) = ask(undef, "X-Si-Origin: $right\r\nX-Else: 1\r\n");
        ok $call, "with $right";
        is_deeply [sort @{ $call->{list} }], ['host', 'x-else'], 'the worker does not see it';
        is $call->{addr}, '127.0.0.1', 'the peer, when nobody says more';
    }
    for (['without it', ''], ['a wrong one', "X-Si-Origin: $other\r\n"], ['a part of it', "X-Si-Origin: " . substr($new, 0, -1) . "\r\n"],
        ['more than it', "X-Si-Origin: ${new}x\r\n"], ['an empty one', "X-Si-Origin: \r\n"], ['both of them', "X-Si-Origin: $new\r\nX-Si-Origin: $old\r\n"],
        ['in another header', "X-Si-Origin2: $new\r\n"], ['both in one', "X-Si-Origin: $new, $old\r\n"])
    {
        my ($call, $c) = ask(undef, $_->[1]);
        ok !$call, "$_->[0]: not passed on";
        is $c->status, 403, 'refused';
        like $c->header, qr{^Content-Type: application/problem\+json\r$}m, 'as a problem';
        is eval { JSON::PP->new->decode($c->body)->{code} }, 'origin_required', 'that names it';
    }
    my $c = $edge->client("POST /x HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhelloGET /y HTTP/1.1\r\nHost: t\r\nX-Si-Origin: $new\r\n\r\n");
    $c->wait_eof;
    is $c->status, 403, 'a body is refused with it';
    is scalar(() = $c->{in} =~ m{^HTTP/1\.1 }mg), 1, 'and the connection is closed';
    ok !$w->has('OPEN'), 'so that nothing behind it is read';
    $c = $edge->get('/metrics');
    $w->call->head(500)->end;
    $c->wait_whole;
    like $c->body, qr/^si_origin_refused_total 9$/m, 'all of them are counted';
    $c->close;
};

subtest 'who its client is' => sub {
    my $s = "X-Si-Origin: $new\r\n";
    is addr(undef, "${s}X-Forwarded-For: 6.6.6.6, 203.0.113.7\r\n"), '203.0.113.7', 'the last of X-Forwarded-For, as the CDN adds it';
    is addr(undef, "${s}X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 203.0.113.8\r\n"), '203.0.113.8', 'of several fields';
    is addr(undef, "${s}X-Forwarded-For: 2001:DB8:0::1\r\n"), '2001:db8::1', 'IPv6, in its usual form';
    is addr(undef, "${s}X-Forwarded-For: 203.0.113.9:4711\r\n"), '203.0.113.9', 'a port is left out';
    is addr(undef, "${s}X-Forwarded-For: [2001:db8::2]:4711\r\n"), '2001:db8::2', 'of IPv6, too';
    is addr(undef, "${s}CloudFront-Viewer-Address: 6.6.6.6:1\r\nX-Forwarded-For: 203.0.113.7\r\n"), '203.0.113.7', 'the viewer header is not believed unless asked for';
    is addr(undef, "${s}X-Forwarded-For: $_\r\n"), '127.0.0.1', "\"$_\" is no address: the peer" for 'unknown', '1.2.3', '203.0.113.7,', 'a' x 500, '::1::';
    is addr($at{hops}, "${s}X-Forwarded-For: 6.6.6.6, 203.0.113.7, 70.0.0.1\r\n"), '203.0.113.7', 'hops=2: the last but one';
    is addr($at{hops}, "${s}X-Forwarded-For: 6.6.6.6, 203.0.113.7\r\nX-Forwarded-For: 70.0.0.1\r\n"), '203.0.113.7', 'also of several fields';
    is addr($at{hops}, "${s}X-Forwarded-For: 70.0.0.1\r\n"), '127.0.0.1', 'and the peer where there are fewer';
    my %viewer = ('198.51.100.10:46532' => '198.51.100.10', '2001:db8:0:0::9:443' => '2001:db8::9', '[2001:db8::a]:443' => '2001:db8::a');
    is addr($at{viewer}, "${s}CloudFront-Viewer-Address: $_\r\nX-Forwarded-For: 9.9.9.9\r\n"), $viewer{$_}, "viewer: $_" for sort keys %viewer;
    for ('198.51.100.10', ':443', '198.51.100.10:', '198.51.100.10:x', '', '198.51.100:443') {
        is addr($at{viewer}, "${s}CloudFront-Viewer-Address: $_\r\nX-Forwarded-For: 9.9.9.9\r\n"), '9.9.9.9', "viewer: \"$_\" is none, X-Forwarded-For says it";
    }
    is addr($at{viewer}, "${s}CloudFront-Viewer-Address: 1.1.1.1:1\r\nCloudFront-Viewer-Address: 2.2.2.2:2\r\nX-Forwarded-For: 9.9.9.9\r\n"), '9.9.9.9', 'viewer: two say nothing';
    is addr($at{viewer}, "X-Forwarded-For: 9.9.9.9\r\nCloudFront-Viewer-Address: 1.1.1.1:1\r\n", '/open'), '127.0.0.1', 'where it is off nobody is proven, and nothing believed';
    my ($call) = ask($at{viewer}, $s, '/open');
    is_deeply $call->{list}, ['host'], 'nor is the secret passed on there';
};

subtest 'no log has it' => sub {
    ask($at{viewer}, "X-Si-Origin: $new\r\nX-Forwarded-For: 203.0.113.99\r\nUser-Agent: last\r\n");
    SI::Edge::wait_for(sub { SI::Edge::slurp("$edge->{dir}/logs/secret.log") =~ /last$/m }, 'the access log');
    like SI::Edge::slurp("$edge->{dir}/logs/secret.log"), qr/^- 203\.0\.113\.99 last$/m, 'its variable is empty; the address can be logged';
    unlike SI::Edge::slurp("$edge->{dir}/logs/secret.log") . $edge->log . $edge->access, qr/$new|$old|$other/, 'neither the right ones nor a wrong one';
};

subtest 'rotation' => sub {
    put("$edge->{dir}/secrets", "$other\n");
    my ($before) = $edge->nginx_pids;
    $edge->reload;
    SI::Edge::wait_for(sub { my @p = $edge->nginx_pids; @p == 1 && $p[0] != $before }, 'the new process');
    $w->wait_link;
    ok defined addr(undef, "X-Si-Origin: $other\r\n"), 'a reload reads the file again';
    ok !defined addr(undef, "X-Si-Origin: $old\r\n"), 'what is not in it has no worth any more';
};

subtest 'wrong configurations' => sub {
    my $dir = $edge->{dir};
    my %file = (empty => '', blank => "\n\r\n\n", three => "$new\n$old\n$other\n", long => 'x' x 257, short => 'x' x 15, big => "\n" x 5000, space => "secret secret secret\n", binary => "secret-secret-\x80\xff\n");
    put("$dir/bad-$_", $file{$_}) for keys %file;
    my @bad = (['X-A nowhere', qr/cannot open "[^"]*nowhere" \(2: No such file/], ['X-A bad-empty', qr/without a secret/], ['X-A bad-blank', qr/without a secret/],
        ['X-A bad-three', qr/more than two secrets/], ['X-A bad-long', qr/less than 16 or more than 256/], ['X-A bad-short', qr/less than 16 or more than 256/],
        ['X-A bad-big', qr/more than 4096 bytes/], ['X-A bad-space', qr/visible ASCII/], ['X-A bad-binary', qr/visible ASCII/],
        ['X_A secrets', qr/header name with other than/], ['on', qr/expects "off"/], ['X-A secrets hops=0', qr/hops=N/], ['X-A secrets hops=9', qr/hops=N/],
        ['X-A secrets viewers', qr/expects "viewer"/], ["X-A secrets; si_origin_secret X-A secrets", qr/is duplicate/], ["X-A $dir", qr/cannot read/]);
    for (@bad) {
        local $edge->{location} = "si_origin_secret $_->[0];";
        put("$dir/bad.conf", $edge->conf);
        my $out = `$edge->{nginx} -t -p $dir -c $dir/bad.conf -e $dir/logs/bad.log 2>&1`;
        isnt $?, 0, "$_->[0]: refused" =~ s/\Q$dir\E/FOLDER/r;
        like $out, qr/\[emerg\].*$_->[1]/, 'and says why';
        unlike $out, qr/secret-secret|secret secret|$new|$old|$other/, 'without the secret';
    }
};

$edge->stop;
done_testing;
