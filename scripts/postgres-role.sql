-- What the postgres container of docker-compose.yml runs once, when its data is made:
-- the apps' role, which owns their database and can do nothing beside it. The
-- superuser loses its password, with which it could log in over the network.
\getenv password POSTGRES_PASSWORD
CREATE ROLE waybill LOGIN PASSWORD :'password';
ALTER DATABASE waybill OWNER TO waybill;
ALTER ROLE postgres PASSWORD NULL;
