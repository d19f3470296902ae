#!/bin/sh
# nginx and PHP with PostfixAdmin and Roundcube, as the init of the namespaces that clients/unpacked.sh makes: stack.sh OWN
set -eu
own=$1
php=$(ls -d /etc/php/*/cli | sort -V | tail -1)
version=$(basename "$(dirname "$php")")
# The modules are set up for the command line only: PHP's own service is not installed.
PHP_INI_SCAN_DIR=$php/conf.d "php-fpm$version" -F -y "$own/php-fpm.conf" -c "$php/php.ini" &
nginx -c "$own/nginx.conf" -g "daemon off;"
