#!/usr/bin/perl
# si_auth_cookie as Chromium sends the cookie: from Si's own page, from that of an origin that is listed, and from one that is not.
# All are of one site, so that SameSite holds nothing back. cookies.mjs drives the browser.
use strict;
use warnings;
use File::Temp ();
use FindBin;
use lib "$FindBin::Bin/../lib";
use Test::More;
use SI::Browser;
use SI::Test;
use SI::Test::Api;
use SI::Test::Jwt;

SI::Browser->need;

my $dir = File::Temp::tempdir('si-cookies-XXXXXX', TMPDIR => 1, CLEANUP => 1);
chmod 0755, $dir;
my $idp = SI::Test::Jwt->new($dir);
$idp->add('e1', 'ES256')->write("$dir/keys.json");
my @port = (free_port(), free_port());      # of the pages
open my $fh, '>', "$dir/si-locations.conf" or die $!;
print $fh "si_auth jwt key;\nsi_auth_jwt issuer=https://id.example audience=si tenant=acme;\nsi_auth_jwt_keys file=$dir/keys.json;\nsi_auth_cookie session;\n",
    slurp(root() . '/conf/si-locations.conf') =~ s/^ *si_limit[a-z_]* .*\n//mgr;
close $fh;
my $si = SI::Test->start(workers => 1, nginx_workers => 1, nginx => "include $dir/si-locations.conf;si_cors http://localhost:$port[0]");
create_key($si, 'acme', 'ann');
my $token = $idp->token({ iss => 'https://id.example', sub => 'ann', aud => 'si', exp => time + 300 }, kid => 'e1');
SI::Browser->drive('cookies.mjs', {}, $si->port, $token, @port);
is +($si->pg("SELECT string_agg(title, ' ' ORDER BY title) FROM conversation"))[0], 'listed own', 'what was made';
done_testing;
