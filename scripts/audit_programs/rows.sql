-- A table of 10,000 rows, built and queried.
create table port (id integer primary key, name text, speed integer, chip integer);
create index port_chip on port (chip, speed);
with recursive row (n) as (select 1 union all select n + 1 from row where n < 10000)
insert into port select n, 'port ' || (n * 7919 % 10007), n * 31 % 9973, n % 61 from row;
select chip, count(*), avg(speed), max(name) from port group by chip order by 3 desc limit 5;
select count(*) from port a join port b on b.chip = a.chip and b.speed between a.speed + 1 and a.speed + 60;
select name, speed from port where name like '%77%' order by speed desc limit 5;
update port set speed = speed * 2 where chip < 30;
select sum(speed), sum(length(name)) from port;
