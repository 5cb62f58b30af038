//! What the service tells of itself, as grpcurl asks.

use orders::proto::orders_server::SERVICE_NAME;
use tonic::transport::Channel;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::support::Place;

async fn ask(client: &mut ServerReflectionClient<Channel>, question: MessageRequest) -> MessageResponse {
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(question) };
    let mut answers = client.server_reflection_info(tokio_stream::once(request)).await.unwrap().into_inner();
    answers.message().await.unwrap().unwrap().message_response.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_tells_its_services_and_their_messages() {
    let there = Place::sqlite();
    let service = there.start("a", &[]).await;
    let channel = Channel::from_shared(service.url.clone()).unwrap().connect().await.unwrap();
    let mut client = ServerReflectionClient::new(channel);
    let MessageResponse::ListServicesResponse(list) =
        ask(&mut client, MessageRequest::ListServices(String::new())).await
    else {
        panic!("no list of services");
    };
    let names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    for name in [SERVICE_NAME, "grpc.health.v1.Health"] {
        assert!(names.iter().any(|there| there == name), "{names:?}");
    }
    let question = MessageRequest::FileContainingSymbol(format!("{SERVICE_NAME}.PlaceOrder"));
    let MessageResponse::FileDescriptorResponse(files) = ask(&mut client, question).await else {
        panic!("no description of a method");
    };
    let described = files.file_descriptor_proto.concat();
    assert!(String::from_utf8_lossy(&described).contains("PlaceOrderRequest"));
    drop(client);
    service.stop().await;
}
