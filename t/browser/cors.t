#!/usr/bin/perl
# si_cors as Chromium takes it: a page of another origin, listed and not. cors.mjs drives the browser.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Test::More;
use SI::Browser;
use SI::Test;

SI::Browser->need;

my @port = (free_port(), free_port());      # of the pages
my $si = SI::Test->start(workers => 1, nginx_workers => 1, nginx => "si_cors http://localhost:$port[0] http://page.localhost:$port[1]");
SI::Browser->drive('cors.mjs', {}, $si->url, $si->key, @port);
done_testing;
