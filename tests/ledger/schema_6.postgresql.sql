SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET transaction_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;
SET default_tablespace = '';
SET default_table_access_method = heap;
CREATE TABLE public.batches (
    id character varying(17) NOT NULL,
    folder_digest character varying(64) NOT NULL,
    status character varying(16) NOT NULL,
    run_id character varying(250),
    holder character varying(250),
    take_ups integer NOT NULL,
    study character varying(64) NOT NULL,
    collection character varying(64) NOT NULL,
    recipe text NOT NULL,
    revise boolean NOT NULL,
    subfolder text,
    same_as character varying(17),
    has_error boolean NOT NULL,
    set_aside boolean NOT NULL,
    errors json NOT NULL,
    reasons json NOT NULL,
    actions json NOT NULL,
    received integer NOT NULL,
    delivered integer NOT NULL,
    filtered integer NOT NULL,
    quarantined integer NOT NULL,
    duplicate integer NOT NULL,
    bytes_in bigint NOT NULL,
    listing character varying(64),
    queued_at double precision NOT NULL,
    started_at double precision,
    finished_at double precision,
    cleaned_at double precision
);
CREATE TABLE public.deliveries (
    batch_id character varying(17) NOT NULL,
    bucket character varying(222) NOT NULL,
    object text NOT NULL,
    archive_of character varying(200) NOT NULL,
    revision integer NOT NULL,
    replaces character varying(17),
    replaced_object text,
    replaced_generation bigint,
    content character varying(64) NOT NULL,
    size bigint NOT NULL,
    crc32c character varying(16) NOT NULL,
    members integer NOT NULL,
    recipe_digest character varying(64) NOT NULL,
    engine character varying(32) NOT NULL,
    sent_at double precision,
    sent_object text,
    sent_crc32c character varying(16),
    generation bigint,
    md5 character varying(32),
    updated character varying(40),
    self_link text,
    media_link text,
    uploaded_at double precision,
    rows integer,
    rows_at double precision,
    superseded_by character varying(17),
    withdrawn_at double precision
);
CREATE TABLE public.feeds (
    bucket character varying(222) NOT NULL,
    collection character varying(64) NOT NULL,
    counter bigint NOT NULL
);
CREATE TABLE public.history (
    id integer NOT NULL,
    at double precision NOT NULL,
    batch_id character varying(17) NOT NULL,
    event character varying(16) NOT NULL,
    archive_of character varying(200),
    object text,
    revision integer,
    generation bigint,
    crc32c character varying(16),
    recipe_digest character varying(64),
    note text
);
CREATE SEQUENCE public.history_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.history_id_seq OWNED BY public.history.id;
CREATE TABLE public.identifiers (
    batch_id character varying(17) NOT NULL,
    kind character varying(16) NOT NULL,
    value json NOT NULL
);
CREATE TABLE public.identity (
    id character varying(32) NOT NULL
);
CREATE TABLE public.inputs (
    digest character varying(64) NOT NULL,
    device character varying(20) NOT NULL,
    inode character varying(20) NOT NULL,
    mounted boolean NOT NULL
);
CREATE TABLE public.patient_codes (
    digest character varying(64) NOT NULL,
    code character varying(64) NOT NULL,
    jitter integer NOT NULL
);
CREATE TABLE public.runs (
    key character varying(17) NOT NULL,
    dag_id character varying(250) NOT NULL,
    run_id character varying(250) NOT NULL,
    created character varying(40) NOT NULL,
    starts json NOT NULL,
    first_seen_at double precision NOT NULL
);
CREATE TABLE public.schema_info (
    version integer NOT NULL
);
CREATE SEQUENCE public.schema_info_version_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.schema_info_version_seq OWNED BY public.schema_info.version;
CREATE TABLE public.stages (
    holder character varying(250) NOT NULL,
    lane integer NOT NULL,
    bucket character varying(222) NOT NULL,
    collection character varying(64) NOT NULL,
    dropped_at double precision
);
CREATE TABLE public.study_codes (
    digest character varying(64) NOT NULL,
    code character varying(64) NOT NULL
);
ALTER TABLE ONLY public.history ALTER COLUMN id SET DEFAULT nextval('public.history_id_seq'::regclass);
ALTER TABLE ONLY public.schema_info ALTER COLUMN version SET DEFAULT nextval('public.schema_info_version_seq'::regclass);
INSERT INTO public.batches VALUES ('be3b56d1ceee9436d', '0000000000000000000000000000000000000000000000000000000000000002', 'DONE', 'scheduled__2026-11-27T00:00:00+00:00', 'ra56163afafb32bda', 0, 'trial', 'IRB-1', 'default', true, '1_6', NULL, false, false, '[]', '{}', '{}', 0, 0, 0, 0, 0, 0, NULL, 1795973061.6074371, 1795973062.1205616, 1795973062.202972, NULL);
INSERT INTO public.batches VALUES ('b2ecf222270bf2f86', '0000000000000000000000000000000000000000000000000000000000000003', 'ERROR', 'scheduled__2026-11-27T00:00:00+00:00', 'ra56163afafb32bda', 0, 'trial', 'IRB-1', 'default', true, '1_6', NULL, true, false, '[{"stage": "import", "reason": "unsupported transfer syntax", "count": 1, "files": [], "outside": false}]', '{"unsupported transfer syntax": 3}', '{"REMOVE 00100010": 7}', 4, 0, 1, 3, 0, 123456789012, 'cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc', 1795973061.6286786, 1795973062.2846866, 1795973062.2962463, NULL);
INSERT INTO public.batches VALUES ('b205ae9ec76cf2462', '0000000000000000000000000000000000000000000000000000000000000004', 'DONE', 'scheduled__2026-11-27T00:00:00+00:00', 'ra56163afafb32bda', 0, 'trial', 'IRB-1', 'default', true, '1_6', 'be3b56d1ceee9436d', false, false, '[]', '{}', '{}', 0, 0, 0, 0, 0, 0, NULL, 1795973061.6370878, 1795973062.3558686, 1795973062.396659, NULL);
INSERT INTO public.batches VALUES ('b71c8dcc80e51fa32', '0000000000000000000000000000000000000000000000000000000000000005', 'PROCESSING', 'scheduled__2026-11-27T00:00:00+00:00', 'ra56163afafb32bda', 0, 'trial', 'IRB-1', 'default', true, '1_6', NULL, false, false, '[]', '{}', '{}', 0, 0, 0, 0, 0, 0, NULL, 1795973061.655578, 1795973062.4578166, NULL, NULL);
INSERT INTO public.batches VALUES ('b7038bd8957e5f878', '0000000000000000000000000000000000000000000000000000000000000000', 'DONE', 'scheduled__2026-11-27T00:00:00+00:00', 'ra56163afafb32bda', 0, 'trial', 'IRB-1', 'default', true, '1_6', NULL, false, false, '[]', '{}', '{}', 0, 0, 0, 0, 0, 0, NULL, 1795973061.5474036, 1795973061.7525506, 1795973061.8926492, 1795973062.596638);
INSERT INTO public.batches VALUES ('b2d42bf282a131a5d', '0000000000000000000000000000000000000000000000000000000000000001', 'DONE', 'scheduled__2026-11-27T00:00:00+00:00', 'ra56163afafb32bda', 0, 'trial', 'IRB-1', 'default', true, '1_6', NULL, false, false, '[]', '{}', '{}', 0, 0, 0, 0, 0, 0, NULL, 1795973061.5910544, 1795973061.952935, 1795973062.0854354, 1795973062.629014);
INSERT INTO public.batches VALUES ('b108efb94a7e27424', '0000000000000000000000000000000000000000000000000000000000000006', 'QUEUE', NULL, NULL, 0, 'trial', 'IRB-1', 'default', false, NULL, NULL, false, false, '[]', '{}', '{}', 0, 0, 0, 0, 0, 0, NULL, 1795973062.6527383, NULL, NULL, NULL);
INSERT INTO public.deliveries VALUES ('be3b56d1ceee9436d', 'bucket', 'Collection/IRB-1/p1/s1.tar.gz', 'IRB-1/p1/s1', 2, 'b7038bd8957e5f878', 'Collection/IRB-1/p1/s1.tar.gz', 1764300000000000, '0000000000000000000000000000000000000000000000000000000000000002', 8589934594, 'AAAAA2==', 5, 'abababababababababababababababababababababababababababababababab', '2.0.0', 1795973062.166862, 'Collection/IRB-1/p1/s1.tar.gz', 'AAAAA2==', 1764300000000002, NULL, '2026-11-28T10:00:00.000Z', 'https://storage.example.org/o/a', 'https://storage.example.org/m/a', 1764300000.25, 1, 1795973062.2024632, NULL, NULL);
INSERT INTO public.deliveries VALUES ('b7038bd8957e5f878', 'bucket', 'Collection/IRB-1/p1/s1.tar.gz', 'IRB-1/p1/s1', 1, NULL, NULL, NULL, '0000000000000000000000000000000000000000000000000000000000000000', 8589934592, 'AAAAA0==', 3, 'abababababababababababababababababababababababababababababababab', '2.0.0', 1795973061.8301432, 'Collection/IRB-1/p1/s1.tar.gz', 'AAAAA0==', 1764300000000000, 'md5md5md5md5md5md5md5m==', '2026-11-28T10:00:00.000Z', 'https://storage.example.org/o/a', 'https://storage.example.org/m/a', 1764300000.25, 1, 1795973061.8820353, 'be3b56d1ceee9436d', NULL);
INSERT INTO public.deliveries VALUES ('b2d42bf282a131a5d', 'bucket', 'Collection/IRB-1/p2/s2.tar.gz', 'IRB-1/p2/s2', 1, NULL, NULL, NULL, '0000000000000000000000000000000000000000000000000000000000000001', 8589934593, 'AAAAA1==', 4, 'abababababababababababababababababababababababababababababababab', '2.0.0', 1795973062.0433772, 'Collection/IRB-1/p2/s2.tar.gz', 'AAAAA1==', 1764300000000001, NULL, '2026-11-28T10:00:00.000Z', 'https://storage.example.org/o/a', 'https://storage.example.org/m/a', 1764300000.25, 1, 1795973062.0846763, NULL, 1795973062.23327);
INSERT INTO public.deliveries VALUES ('b71c8dcc80e51fa32', 'bucket', 'Collection/IRB-1/p3/s3.tar.gz', 'IRB-1/p3/s3', 1, NULL, NULL, NULL, '0000000000000000000000000000000000000000000000000000000000000005', 8589934597, 'AAAAA5==', 8, 'abababababababababababababababababababababababababababababababab', '2.0.0', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.feeds VALUES ('bucket', 'IRB-1', 4);
INSERT INTO public.history VALUES (1, 1795973061.9147265, 'b7038bd8957e5f878', 'delivered', 'IRB-1/p1/s1', 'Collection/IRB-1/p1/s1.tar.gz', 1, 1764300000000000, 'AAAAA0==', 'abababababababababababababababababababababababababababababababab', NULL);
INSERT INTO public.history VALUES (2, 1795973062.0966334, 'b2d42bf282a131a5d', 'delivered', 'IRB-1/p2/s2', 'Collection/IRB-1/p2/s2.tar.gz', 1, 1764300000000001, 'AAAAA1==', 'abababababababababababababababababababababababababababababababab', NULL);
INSERT INTO public.history VALUES (3, 1795973062.2058136, 'be3b56d1ceee9436d', 'delivered', 'IRB-1/p1/s1', 'Collection/IRB-1/p1/s1.tar.gz', 2, 1764300000000002, 'AAAAA2==', 'abababababababababababababababababababababababababababababababab', NULL);
INSERT INTO public.history VALUES (4, 1795973062.2271326, 'b7038bd8957e5f878', 'superseded', 'IRB-1/p1/s1', 'Collection/IRB-1/p1/s1.tar.gz', 1, 1764300000000000, 'AAAAA0==', 'abababababababababababababababababababababababababababababababab', 'be3b56d1ceee9436d');
INSERT INTO public.history VALUES (5, 1795973062.252729, 'b2d42bf282a131a5d', 'withdrawn', 'IRB-1/p2/s2', 'Collection/IRB-1/p2/s2.tar.gz', 1, 1764300000000001, 'AAAAA1==', 'abababababababababababababababababababababababababababababababab', 'consent withdrawn');
INSERT INTO public.history VALUES (6, 1795973062.4248545, 'b205ae9ec76cf2462', 'recognised', NULL, NULL, NULL, NULL, NULL, NULL, 'be3b56d1ceee9436d');
INSERT INTO public.history VALUES (7, 1795973062.556756, 'b71c8dcc80e51fa32', 'retracted', 'IRB-1/p3/s3', 'Collection/IRB-1/p3/s3.tar.gz', 1, NULL, 'AAAAA5==', 'abababababababababababababababababababababababababababababababab', NULL);
INSERT INTO public.identifiers VALUES ('b108efb94a7e27424', 'folder', '"/input/A7"');
INSERT INTO public.identifiers VALUES ('be3b56d1ceee9436d', 'folder', '"/input/A1 again"');
INSERT INTO public.identifiers VALUES ('b2ecf222270bf2f86', 'folder', '"/input/caf\udce9"');
INSERT INTO public.identifiers VALUES ('b205ae9ec76cf2462', 'folder', '"/input/A5"');
INSERT INTO public.identifiers VALUES ('b71c8dcc80e51fa32', 'folder', '"/input/A6"');
INSERT INTO public.identifiers VALUES ('be3b56d1ceee9436d', 'header', '{"00100020": "P0001", "00100010": "M\u00fcller^J\u00f6rg"}');
INSERT INTO public.identity VALUES ('5bcaf47dd9e0ebbf069f133db19ac143');
INSERT INTO public.inputs VALUES ('dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd', '2049', '18446744073709551615', true);
INSERT INTO public.patient_codes VALUES ('eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee', 'p1', -17);
INSERT INTO public.patient_codes VALUES ('ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff', 'p2', 31);
INSERT INTO public.runs VALUES ('ra56163afafb32bda', 'sendit', 'scheduled__2026-11-27T00:00:00+00:00', '2026-11-27T00:00:00+00:00', '{"0": "2026-11-27T00:00:01+00:00"}', 1795973061.456767);
INSERT INTO public.runs VALUES ('r7b97f55ebc5049a3', 'sendit', 'manual__2026-11-28', '2026-11-28T00:00:00+00:00', '{"0": "2026-11-28T09:00:00+00:00", "1": "2026-11-28T10:00:00+00:00"}', 1795973061.4791112);
INSERT INTO public.schema_info VALUES (6);
INSERT INTO public.stages VALUES ('ra56163afafb32bda', 1, 'bucket', 'IRB-1', NULL);
INSERT INTO public.stages VALUES ('ra56163afafb32bda', 0, 'bucket', 'IRB-1', 1795973062.726398);
INSERT INTO public.study_codes VALUES ('eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee', 's1');
SELECT pg_catalog.setval('public.history_id_seq', 7, true);
SELECT pg_catalog.setval('public.schema_info_version_seq', 1, false);
ALTER TABLE ONLY public.batches
    ADD CONSTRAINT batches_folder_digest_key UNIQUE (folder_digest);
ALTER TABLE ONLY public.batches
    ADD CONSTRAINT batches_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.deliveries
    ADD CONSTRAINT deliveries_pkey PRIMARY KEY (batch_id);
ALTER TABLE ONLY public.feeds
    ADD CONSTRAINT feeds_pkey PRIMARY KEY (bucket, collection);
ALTER TABLE ONLY public.history
    ADD CONSTRAINT history_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.identifiers
    ADD CONSTRAINT identifiers_pkey PRIMARY KEY (batch_id, kind);
ALTER TABLE ONLY public.identity
    ADD CONSTRAINT identity_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.inputs
    ADD CONSTRAINT inputs_pkey PRIMARY KEY (digest);
ALTER TABLE ONLY public.deliveries
    ADD CONSTRAINT one_archive_per_study UNIQUE (bucket, archive_of, revision);
ALTER TABLE ONLY public.patient_codes
    ADD CONSTRAINT patient_codes_code_key UNIQUE (code);
ALTER TABLE ONLY public.patient_codes
    ADD CONSTRAINT patient_codes_pkey PRIMARY KEY (digest);
ALTER TABLE ONLY public.runs
    ADD CONSTRAINT runs_pkey PRIMARY KEY (key);
ALTER TABLE ONLY public.schema_info
    ADD CONSTRAINT schema_info_pkey PRIMARY KEY (version);
ALTER TABLE ONLY public.stages
    ADD CONSTRAINT stages_pkey PRIMARY KEY (holder, lane, bucket, collection);
ALTER TABLE ONLY public.study_codes
    ADD CONSTRAINT study_codes_code_key UNIQUE (code);
ALTER TABLE ONLY public.study_codes
    ADD CONSTRAINT study_codes_pkey PRIMARY KEY (digest);
CREATE INDEX ix_batches_holder ON public.batches USING btree (holder);
CREATE INDEX ix_batches_run_id ON public.batches USING btree (run_id);
CREATE INDEX ix_batches_status ON public.batches USING btree (status);
CREATE INDEX ix_deliveries_archive_of ON public.deliveries USING btree (archive_of);
CREATE INDEX ix_history_batch_id ON public.history USING btree (batch_id);
CREATE INDEX ix_runs_run_id ON public.runs USING btree (run_id);
ALTER TABLE ONLY public.deliveries
    ADD CONSTRAINT deliveries_batch_id_fkey FOREIGN KEY (batch_id) REFERENCES public.batches(id);
ALTER TABLE ONLY public.history
    ADD CONSTRAINT history_batch_id_fkey FOREIGN KEY (batch_id) REFERENCES public.batches(id);
ALTER TABLE ONLY public.identifiers
    ADD CONSTRAINT identifiers_batch_id_fkey FOREIGN KEY (batch_id) REFERENCES public.batches(id);
