#!/usr/bin/perl
# Chromium's WebSocket against a whole Si. socket.mjs drives the browser.
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

my $model = SI::Model->start;
my $si = SI::Test->start(workers => 2, nginx_workers => 1, model => $model, nginx => 'si_stream_drain 1s');
my %do = (
    step => sub { $model->next(kind => 'step') },
    go => sub { $model->wait_request(1); $model->go(1, $_[0]) },
    finish => sub { $model->finish(1) },
    reload => sub { $si->reload_nginx },
);
SI::Browser->drive('socket.mjs', \%do, $si->url, $si->key, conversation($si));
done_testing;
