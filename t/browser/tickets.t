#!/usr/bin/perl
# Chromium's EventSource and WebSocket with tickets, from Si's own page and from another origin's. tickets.mjs drives the browser.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Test::More;
use SI::Browser;
use SI::Model;
use SI::Test;
use SI::Test::Api;

SI::Browser->need;

my $port = free_port();
my $model = SI::Model->start;
my $si = SI::Test->start(workers => 2, nginx_workers => 1, model => $model, nginx => "si_stream_drain 1s;si_cors http://localhost:$port http://page.localhost:$port");
my %do = (
    step => sub { $model->next(kind => 'step') },
    go => sub { $model->wait_request(1); $model->go(1, $_[0]) },
    finish => sub { $model->finish(1) },
    reload => sub { $si->reload_nginx },
);
SI::Browser->drive('tickets.mjs', \%do, $si->url, $si->key, conversation($si), $port);
done_testing;
